"""Lists of repos: what each is for, and the score the hub measured of its head."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.repos.models import Kind, Repo
from merges.models import Evaluation, Origin
from tests.markup import markup
from tests.people import PASSWORD, People, make_people, make_repo, put


@pytest.fixture
def people(db: None) -> People:
    return make_people()


def adapter(people: People, name: str, card: bytes) -> Repo:
    repo = make_repo(people.bob, name)
    put(people.bob, repo, {"README.md": card})
    repo.refresh_from_db()
    return repo


def score(subject: Repo, task: Repo, value: float, **more: Any) -> None:
    fields = {"subject_sha": subject.head, "task_sha": "b" * 40, "n": 200} | more
    Evaluation.objects.create(subject=subject, task=task, score=value, **fields)


def shown(name: str | None = None, address: str = "/browse?kind=adapter") -> str:
    made = Client()
    assert name is None or made.login(username=name, password=PASSWORD)
    return markup(made.get(address))


def test_an_adapter_stands_with_its_score_on_its_own_task(people: People) -> None:
    open_, other, closed = (
        make_repo(people.alice, name, kind=Kind.TASK, private=name == "closed") for name in ("moods", "tones", "closed")
    )
    repo = adapter(people, "reader", b"---\ndatasets: [alice/moods]\n---\nReads moods.\n")
    score(repo, open_, 0.811)
    score(repo, other, 0.922)
    score(repo, open_, 0.999, origin=Origin.CLAIMED)
    score(repo, open_, 0.998, subject_sha="c" * 40)
    for address in ("/browse?kind=adapter", "/bob"):
        page = shown(address=address)
        assert "Reads moods." in page and "0.811" in page and "alice/moods" in page
        assert not any(value in page for value in ("0.922", "0.999", "0.998"))
    hidden = adapter(people, "hidden", b"Reads what is closed.\n")
    score(hidden, closed, 0.733)
    assert "0.733" in shown("alice") and "alice/closed" in shown("alice")
    assert "0.733" not in shown("charlie") and "alice/closed" not in shown("charlie")


def test_a_task_stands_with_the_best_score_on_it(people: People) -> None:
    task = make_repo(people.alice, "moods", kind=Kind.TASK)
    put(people.alice, task, {"README.md": b"Moods.\n"})
    task.refresh_from_db()
    reader = adapter(people, "reader", b"Reads moods.\n")
    hidden = make_repo(people.charlie, "hidden", private=True)
    for value, subject, more in (
        (0.811, reader, {}), (0.944, reader, {"subject_sha": "d" * 40}), (0.955, hidden, {"subject_sha": "e" * 40}),
        (0.966, reader, {"origin": Origin.CLAIMED}), (0.977, reader, {"task_sha": "c" * 40}),
    ):  # fmt: skip
        score(subject, task, value, **({"task_sha": task.head} | more))
    page = shown(address="/tasks")
    assert "0.944" in page and "best accuracy" in page and "/leaderboards/alice/moods" in page
    assert not any(value in page for value in ("0.811", "0.955", "0.966", "0.977"))
    assert "0.955" in shown("charlie", "/tasks")


def test_a_field_suggests_what_one_may_read(people: People) -> None:
    adapter(people, "reader", b"Reads moods.\n")
    closed = make_repo(people.bob, "closed", private=True)
    put(people.bob, closed, {"README.md": b"Closed.\n"})
    for address in ("/compare", "/evaluations", "/ask", "/bob/reader/compare"):
        page = shown("charlie", address)
        assert 'list="offered"' in page and "bob/reader" in page and "bob/closed" not in page
        assert "bob/closed" in shown("bob", address)


def test_a_list_counts_in_words_and_leads_on(people: People) -> None:
    adapter(people, "reader", b"Reads moods.\n")
    make_repo(people.bob, "begun")
    page = shown()
    assert ">1 repo<" in page.replace("\n", "") and "begun" not in page
    assert "Clear filters" in page and 'href="/browse?q=x"' in shown(address="/browse?q=x&kind=adapter")
    assert "Clear filters" not in shown(address="/browse")
    nothing = shown(address="/browse?q=no+such%26thing")
    assert "Nothing matches" in nothing and "/ask?texts=no%20such%26thing" in nothing


def test_a_list_asks_as_often_for_many_as_for_few(people: People) -> None:
    task = make_repo(people.alice, "moods", kind=Kind.TASK)

    def count() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert Client().get("/browse").status_code == 200
        return len(seen)

    for number in range(2):
        score(adapter(people, f"few-{number}", b"Words.\n"), task, 0.5)
    few = count()
    for number in range(10):
        score(adapter(people, f"many-{number}", b"Words.\n"), task, 0.5)
    assert count() == few


def test_a_text_file_is_shown_as_it_is_written(people: People) -> None:
    repo = make_repo(people.bob, "files")
    put(people.bob, repo, {"a.json": b'{\n  "rank": 8\n}\n'})
    page = Client().get("/bob/files/blob/main/a.json").content.decode()
    inside = page.partition("<pre")[2].partition("</pre>")[0]
    assert "rank" in inside and "\n" in inside, "lines stay lines"
