"""Pages of commits and files: what a commit changed, what speaks for it, and the way to a file."""

from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.repos import lifecycle, trees
from hub.repos.models import Repo
from hub.review.models import Check, Verdict
from tests.make_adapters import lora_tensors, write_adapter
from tests.markup import markup
from tests.people import PASSWORD, People, make_repo, put
from tests.publishing import do_jobs, publish, push


@pytest.fixture
def repo(people: People) -> Repo:
    """A public repo of acme's with three commits."""
    made = make_repo(people.acme, "tongues")
    put(people.bob, made, {"README.md": b"# One\n", "notes/de/one.md": b"Eins\n"}, message="First words")
    put(
        people.bob,
        made,
        {"README.md": b"# Two\n"},
        message="Second words\n\nBecause one was not enough.\nSee https://example.org/why.",
    )
    put(people.alice, made, {"notes/de/two.md": b"Zwei\n"}, message="Two more")
    made.refresh_from_db()
    return made


def page(address: str, name: str | None = None, status: int = 200) -> str:
    client = Client()
    if name:
        assert client.login(username=name, password=PASSWORD)
    answer = client.get(address)
    assert answer.status_code == status, (address, answer.status_code)
    return markup(answer)


def test_a_commit_says_who_made_it_and_what_it_changed(people: People, repo: Repo) -> None:
    head = trees.resolve_commit(repo)
    second = trees.resolve_commit(repo, head.parents[0])
    lifecycle.create_tag(actor=people.actor("bob"), repo=repo, name="v1", revision=second.sha)
    shown = page(f"/acme/tongues/commit/{second.short}")
    assert "Because one was not enough.<br>" in shown and 'href="https://example.org/why"' in shown
    assert "Second words" in shown and 'href="/bob"' in shown and ">v1<" in shown.replace("</svg>", ">")
    assert "-# One" in shown and "+# Two" in shown and "1 changed, 1 unchanged" in shown
    assert f'href="/acme/tongues/commit/{second.parents[0]}"' in shown
    assert f'href="/acme/tongues/tree/{second.sha}"' in shown


def test_the_first_commit_shows_every_file_as_new(repo: Repo) -> None:
    first = trees.log(repo, trees.resolve_commit(repo))[-1]
    shown = page(f"/acme/tongues/commit/{first.sha}")
    assert "the first commit" in shown and "2 changed, 0 unchanged" in shown
    assert "+# One" in shown and "+Eins" in shown


def test_a_commit_of_weights_shows_what_changed_inside(people: People, tmp_path: Path) -> None:
    repo = publish(people.bob, "sentiment", write_adapter(tmp_path / "one"))
    tensors = lora_tensors()
    name = next(name for name in tensors if name.endswith("lora_B.weight"))
    tensors[name] *= 1.5
    push(people.bob, repo, write_adapter(tmp_path / "two", tensors=tensors))
    repo.refresh_from_db()
    shown = page(f"{repo.get_absolute_url()}/commit/{repo.head}")
    do_jobs()
    shown = page(f"{repo.get_absolute_url()}/commit/{repo.head}")
    assert "changed by 50.0 %" in shown.replace("\xa0", " ") and 'class="heat-map"' in shown


def test_checks_speak_on_the_commit_and_in_the_list(people: People, repo: Repo) -> None:
    for name, verdict in (("header", Verdict.PASS), ("card", Verdict.WARN), ("licence", Verdict.PASS)):
        Check.objects.create(repo=repo, sha=repo.head, name=name, verdict=verdict, summary=f"What {name} found.")
    assert "What card found." in page(f"/acme/tongues/commit/{repo.head}")
    shown = page("/acme/tongues/commits/main")
    assert shown.count("tone-warn") == 1 and "tone-pass" not in shown
    Check.objects.create(repo=repo, sha=repo.head, name="tensors", verdict=Verdict.FAIL, summary="Not a number.")
    shown = page("/acme/tongues/commits/main")
    assert shown.count("tone-fail") == 1 and "tone-warn" not in shown


def test_commits_cost_as_many_queries_as_one(people: People, repo: Repo) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as seen:
            page("/acme/tongues/commits/main")
        return len(seen)

    few = count()
    for number in range(8):
        put(people.bob, repo, {"README.md": b"# %d\n" % number})
    assert count() == few


def test_charlie_does_not_see_a_private_commit(people: People) -> None:
    repo = make_repo(people.acme, "secret", private=True)
    put(people.bob, repo, {"README.md": b"# Hidden\n"})
    repo.refresh_from_db()
    page(f"/acme/secret/commit/{repo.head}", "charlie", status=404)
    page(f"/acme/secret/commit/{repo.head}", status=404)
    assert "+# Hidden" in page(f"/acme/secret/commit/{repo.head}", "bob")
    page("/acme/secret/commit/abcdef0", "bob", status=404)


def test_a_file_shows_the_way_to_it_its_last_change_and_other_revisions(people: People, repo: Repo) -> None:
    lifecycle.create_branch(actor=people.actor("bob"), repo=repo, name="feature/one")
    first = trees.log(repo, trees.resolve_commit(repo))[-1]
    shown = page("/acme/tongues/blob/main/notes/de/one.md")
    for address in ("tree/main", "tree/main/notes", "tree/main/notes/de", f"commit/{first.sha}"):
        assert f'href="/acme/tongues/{address}"' in shown, address
    assert "First words" in shown and "Two more" not in shown
    assert 'href="/acme/tongues/blob/feature%2Fone/notes/de/one.md"' in shown
    folder = page("/acme/tongues/tree/main/notes/de")
    assert 'href="/acme/tongues/tree/main/notes"' in folder and 'aria-current="page">de<' in folder
