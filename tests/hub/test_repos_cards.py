"""What lists say of a repo: the first words of its card."""

import pytest

from hub.repos import cards
from tests.people import make_people, make_repo, put

CARD = b"""---
license: mit
---

<!-- made by hand -->
# Kinds of value

[![Build](https://x.example/b.svg)](https://x.example)

Which **kind** of `value` does a field hold?
See [the task](https://x.example/t).

- number
"""


def test_the_lead_is_the_first_paragraph_of_words() -> None:
    assert cards.lead(CARD) == "Which kind of value does a field hold? See the task."
    assert cards.lead(b"# Only a heading\n\n- a list\n\n```\ncode\n```\n") == ""
    assert cards.lead(b"\xff\xfe") == ""
    assert cards.lead(b"null \x00 byte") == "null \ufffd byte"
    long = cards.lead(b"word " * 200)
    assert len(long) <= 300 and long.endswith("word…")


@pytest.mark.django_db
def test_it_follows_the_head() -> None:
    people = make_people()
    repo = make_repo(people.alice, "kinds")
    put(people.alice, repo, {"README.md": CARD})
    repo.refresh_from_db()
    assert repo.lead.startswith("Which kind")
    put(people.alice, repo, {"README.md": b"# Kinds\n"})
    repo.refresh_from_db()
    assert repo.lead == ""
