"""The head of a repo: liking it, with and without htmx, and duplicating it."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.repos import trees
from hub.repos.models import Kind, Like, Repo
from tests.markup import markup
from tests.people import PASSWORD, People, make_repo, put


def browser(name: str | None = None) -> Client:
    made = Client()
    assert name is None or made.login(username=name, password=PASSWORD)
    return made


@pytest.fixture
def repo(people: People) -> Repo:
    made = make_repo(people.alice, "tongues")
    put(people.alice, made, {"README.md": b"---\nlicense: mit\n---\n# Words", "notes/one.md": b"One"})
    made.refresh_from_db()
    return made


def head(page: str) -> str:
    return page.partition('class="page-head"')[2].partition("</header>")[0]


def test_a_like_is_given_and_taken_back_and_one_comes_back_to_where_one_was(people: People, repo: Repo) -> None:
    bob = browser("bob")
    for _twice in range(2):
        answer = bob.post("/alice/tongues/like", {"liked": "on", "next": "/alice/tongues/commits/main?page=1"})
        assert answer["Location"] == "/alice/tongues/commits/main?page=1"
    repo.refresh_from_db()
    assert repo.likes == 1 and Like.objects.filter(repo=repo, account=people.bob).exists()
    shown = head(markup(bob.get("/alice/tongues")))
    assert 'value="off" aria-pressed="true"' in shown and '<span class="count">1</span>' in shown
    assert 'value="on" aria-pressed="false"' in head(markup(browser("charlie").get("/alice/tongues")))
    for elsewhere in ("https://evil.example/", "//evil.example", ""):
        assert bob.post("/alice/tongues/like", {"liked": "off", "next": elsewhere})["Location"] == "/alice/tongues"
    repo.refresh_from_db()
    assert repo.likes == 0


def test_htmx_gets_the_button_alone(people: People, repo: Repo) -> None:
    answer = browser("bob").post(
        "/alice/tongues/like", {"liked": "on", "next": "/alice/tongues/settings"}, headers={"HX-Request": "true"}
    )
    body = markup(answer)
    assert answer.status_code == 200 and body.strip().startswith("<form") and "<html" not in body
    assert 'aria-pressed="true"' in body and '<span class="count">1</span>' in body
    assert 'name="next" value="/alice/tongues/settings"' in body and "csrfmiddlewaretoken" in body


def test_who_is_not_signed_in_sees_the_count_and_is_led_to_sign_in(people: People, repo: Repo) -> None:
    browser("bob").post("/alice/tongues/like", {"liked": "on"})
    shown = head(markup(browser().get("/alice/tongues")))
    assert 'href="/accounts/login/?next=/alice/tongues"' in shown and '<span class="count">1</span>' in shown
    asked = browser().post("/alice/tongues/like", {"liked": "on"})
    assert asked["Location"] == "/accounts/login/?next=%2Falice%2Ftongues"
    assert browser().get("/alice/tongues/like")["Location"] == "/alice/tongues"
    assert Like.objects.count() == 1


def test_a_private_repo_is_liked_by_those_who_read_it(people: People) -> None:
    task = make_repo(people.acme, "moods", by=people.alice, kind=Kind.TASK, private=True)
    for name in (None, "charlie", "mary"):
        for path in ("like", "duplicate"):
            expected = 302 if name is None and path == "duplicate" else 404
            answer = browser(name).post(
                f"/datasets/acme/moods/{path}", {"liked": "on", "owner": name or "", "name": "x"}
            )
            assert answer.status_code == expected
    assert browser("bob").post("/datasets/acme/moods/like", {"liked": "on"})["Location"] == "/datasets/acme/moods"
    task.refresh_from_db()
    assert task.likes == 1 and Repo.objects.count() == 1


def test_lists_show_likes_and_order_by_them_without_asking_more(people: People, repo: Repo) -> None:
    put(people.alice, make_repo(people.alice, "newer"), {"README.md": b"# Words"})

    def asked() -> tuple[int, str]:
        with CaptureQueriesContext(connection) as seen:
            page = markup(browser().get("/browse?sort=likes"))
        return len(seen), page

    before, page = asked()
    assert 'aria-label="likes"' not in page
    for name in ("alice", "bob", "charlie"):
        browser(name).post("/alice/tongues/like", {"liked": "on"})
    after, page = asked()
    assert before == after
    assert page.index("<b>tongues</b>") < page.index("<b>newer</b>")
    assert page.count('aria-label="likes"') == 1


def test_a_head_costs_one_query_more_for_whoever_is_signed_in(people: People, repo: Repo) -> None:
    def count(who: Client) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert who.get("/alice/tongues/refs").status_code == 200
        return len([row for row in seen.captured_queries if "repos_like" in row["sql"]])

    assert (count(browser()), count(browser("bob"))) == (0, 1)


def test_a_repo_is_duplicated_into_one_s_own(people: People, repo: Repo) -> None:
    bob, page = browser("bob"), "/alice/tongues/duplicate"
    form = markup(bob.get(page))
    assert "<option>bob</option><option>acme</option>" in form and 'value="tongues"' in form
    made = bob.post(page, {"owner": "acme", "name": "voices", "private": "on"})
    assert made["Location"] == "/acme/voices"
    copy = Repo.objects.get(name="voices")
    files = trees.list_files(copy, trees.resolve_commit(copy))
    assert (copy.owner.name, copy.private, sorted(files)) == ("acme", True, ["README.md", "notes/one.md"])
    mine = markup(browser("alice").get(page))
    assert 'value="tongues-copy"' in mine
    assert browser().get(page)["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize(
    ("owner", "name", "said"),
    [
        ("bob", "taken", "bob/taken exists already."),
        ("bob", "not a name", "is not a usable name"),
        ("charlie", "voices", "You may not create repos for charlie."),
    ],
)
def test_a_copy_that_cannot_be_is_told_beside_the_field(
    people: People, repo: Repo, owner: str, name: str, said: str
) -> None:
    make_repo(people.bob, "taken")
    answer = browser("bob").post("/alice/tongues/duplicate", {"owner": owner, "name": name, "private": "on"})
    page = markup(answer)
    assert answer.status_code == 422
    assert said in page.partition('id="name-error">')[2].partition("</p>")[0]
    assert f'value="{name}"' in page and 'name="private" checked' in page
    assert Repo.objects.count() == 2


def test_a_copy_of_what_is_private_starts_private(people: People, repo: Repo) -> None:
    Repo.objects.filter(pk=repo.pk).update(private=True)
    form = markup(browser("alice").get("/alice/tongues/duplicate"))
    assert 'name="private" checked' in form and "A public copy shows everything" in form
