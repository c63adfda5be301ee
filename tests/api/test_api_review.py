"""Change requests, decisions, the queue, jobs, activity over the REST API."""

from django.db import connection
from django.test.utils import CaptureQueriesContext

from hub.accounts.models import Scope, create_person
from hub.accounts.tokens import create_token
from hub.repos import trees
from hub.repos.models import Repo
from tests.api.test_api_repos import API, get, post
from tests.people import PASSWORD, People, make_repo, put
from tests.world import World, client


def propose(people: People) -> tuple[Repo, int]:
    repo = make_repo(people.acme, "open", by=people.alice)
    put(people.alice, repo, {"a.txt": b"a\n"})
    body = {"message": "Better words", "files": [{"path": "a.txt", "content": "b\n"}], "change_request": True}
    made = post(client(people.charlie), "/repos/acme/open/commit", body)
    assert made["url"] == f"/acme/open/discussions/{made['change_request']}"
    return repo, made["change_request"]


def test_from_proposal_to_approval(people: People) -> None:
    repo, number = propose(people)
    base = f"/repos/acme/open/change-requests/{number}"
    charlie, mary = client(people.charlie), client(people.mary)
    shown = get(mary, base)
    assert (shown["author"], shown["state"], shown["may_decide"], shown["conflicts"]) == ("charlie", "open", True, [])
    assert "+b" in mary.get(f"{API}{base}/diff").content.decode()
    said = post(charlie, f"{base}/comments", {"text": "Please look"})
    changed = charlie.put(f"{API}{base}/comments/{said['id']}", {"text": "Please look again"}, format="json")
    assert changed.json()["text"] == "Please look again"
    assert (
        client(people.bob).put(f"{API}{base}/comments/{said['id']}", {"text": "no"}, format="json").status_code == 403
    )
    assert [row["number"] for row in get(mary, "/queue")["results"]] == [number]
    post(charlie, f"{base}/decisions", {"verdict": "approve", "sha": shown["head"]}, 403)
    post(mary, f"{base}/decisions", {"verdict": "reject", "sha": shown["head"]}, 409)
    post(mary, f"{base}/decisions", {"verdict": "approve", "sha": "0" * 40}, 409)
    decided = post(mary, f"{base}/decisions", {"verdict": "approve", "sha": shown["head"], "reason": "Good"})
    assert decided["maintainer"] == "mary"
    after = get(charlie, base)
    assert (after["state"], after["decisions"][0]["verdict"]) == ("merged", "approve")
    assert get(mary, "/queue")["count"] == 0
    assert client().get(f"{API}/repos/acme/open/download/a.txt").status_code == 302
    repo.refresh_from_db()
    assert repo.head == after["merged_as"]


def test_a_maintainers_token_for_some_repos_decides_nothing_elsewhere(people: People) -> None:
    repo, number = propose(people)
    base, head = f"/repos/acme/open/change-requests/{number}", trees.resolve_commit(repo, f"refs/pr/{number}").sha
    said = post(client(people.mary), f"{base}/comments", {"text": "Mine"})
    _row, text = create_token(account=people.mary, label="one", repos=["mary/own"])
    mary = client(None)
    mary.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    assert get(mary, base)["may_decide"] is False
    post(mary, f"{base}/decisions", {"verdict": "approve", "sha": head}, 403)
    post(mary, f"{base}/comments", {"text": "x"}, 403)
    assert mary.delete(f"{API}{base}/comments/{said['id']}").status_code == 403
    quarantine = {"standing": "quarantined", "reason": "no"}
    assert mary.put(f"{API}/repos/acme/open/standing", quarantine, format="json").status_code == 403
    assert mary.put(f"{API}/repos/acme/open/like").status_code == 403
    post(mary, "/queue/rules", {"name": "All"}, 403)
    post(mary, "/queue/replies", {"group": "g", "title": "t", "text": "x"}, 403)
    repo.refresh_from_db()
    shown = get(client(people.mary), base)
    assert (shown["state"], shown["decisions"], repo.standing) == ("open", [], "good")


def test_rename_close_open_merge_and_hide(people: People) -> None:
    _repo, number = propose(people)
    base = f"/repos/acme/open/change-requests/{number}"
    charlie, bob = client(people.charlie), client(people.bob)
    assert (
        charlie.patch(API + base, {"title": "Other words", "state": "closed"}, format="json").json()["state"]
        == "closed"
    )
    post(bob, f"{base}/merge", {}, 409)
    assert charlie.patch(API + base, {"state": "merged"}, format="json").status_code == 400
    assert charlie.patch(API + base, {"state": "open"}, format="json").json()["title"] == "Other words"
    post(charlie, f"{base}/merge", {}, 403)
    said = post(charlie, f"{base}/comments", {"text": "rude words"})
    assert bob.delete(f"{API}{base}/comments/{said['id']}").status_code == 204
    assert "rude words" not in str(get(charlie, base))
    assert post(bob, f"{base}/merge", {}, 200)["state"] == "merged"


def test_start_empty_then_commit(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"a.txt": b"a"})
    charlie = client(people.charlie)
    made = post(charlie, "/repos/alice/x/change-requests", {"title": "Mine"})
    assert made["state"] == "draft"
    post(
        charlie,
        "/repos/alice/x/commit",
        {"message": "m", "branch": made["ref"], "files": [{"path": "b.txt", "content": "b"}]},
    )
    post(charlie, "/repos/alice/x/commit", {"message": "m", "files": [{"path": "b.txt", "content": "b"}]}, 403)
    assert get(charlie, "/repos/alice/x/change-requests?state=draft&author=CHARLIE")["count"] == 1
    assert get(charlie, "/repos/alice/x/change-requests?state=open")["count"] == 0


def test_jobs_and_activity(world: World, people: People) -> None:
    alice = client(people.alice)
    assert world.job.title in [row["title"] for row in get(alice, "/jobs?state=queued")["results"]]
    assert get(alice, "/jobs?repo=alice/secret-lora&kind=adapters.inspect")["count"] >= 1
    job = get(alice, f"/jobs/{world.job.pk}")
    assert (job["state"], job["share"]) == ("queued", 0.0)
    assert post(alice, f"/jobs/{world.job.pk}/cancel", {}, 200)["state"] == "cancelled"
    verbs = [row["verb"] for row in get(alice, "/repos/alice/secret-lora/activity")["results"]]
    assert {"commit", "create_repo", "comment"} & set(verbs)
    assert get(alice, "/activity?actor=alice&verb=create_repo")["count"] == 6


def test_lists_cost_the_same_for_more_rows(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"a.txt": b"a"})
    seen = []
    for _ in range(2):
        for _ in range(10):
            post(client(people.charlie), "/repos/alice/x/change-requests", {"title": "t", "draft": False})
        counts = {}
        for address in ("/queue", "/repos/alice/x/change-requests", "/activity"):
            with CaptureQueriesContext(connection) as queries:
                get(client(people.mary), address)
            counts[address] = len([query for query in queries if "last_used_at" not in query["sql"]])
        seen.append(counts)
    assert seen[0] == seen[1]


def test_a_conflict_is_read_and_decided(people: People) -> None:
    repo, number = propose(people)
    base = f"/repos/acme/open/change-requests/{number}"
    charlie = client(people.charlie)
    assert get(charlie, f"{base}/conflicts")["files"] == []
    put(people.alice, repo, {"a.txt": b"c\n"})
    found = get(charlie, f"{base}/conflicts")
    assert [(file["path"], file["ours"], file["theirs"]) for file in found["files"]] == [("a.txt", True, True)]
    assert "<<<<<<< main\nc\n=======\nb\n>>>>>>>" in found["files"][0]["text"]
    heads = {"ours": found["ours"], "theirs": found["theirs"]}
    post(charlie, f"{base}/conflicts", {**heads, "files": []}, 409)
    post(charlie, f"{base}/conflicts", {**heads, "files": [{"path": "a.txt", "take": "both"}]}, 400)
    decided = {"files": [{"path": "a.txt", "take": "text", "text": "b and c\n"}]}
    post(client(people.mary, Scope.READ), f"{base}/conflicts", {**heads, **decided}, 403)
    post(
        client(create_person(name="dora", email="dora@example.org", password=PASSWORD)),
        f"{base}/conflicts",
        {**heads, **decided},
        403,
    )
    assert post(charlie, f"{base}/conflicts", {**heads, **decided}, 200)["conflicts"] == []
    post(charlie, f"{base}/conflicts", {**heads, **decided}, 409)
    post(client(people.bob), f"{base}/merge", {}, 200)
    head = trees.resolve_commit(repo)
    assert trees.get_file(repo, head, "a.txt").read() == b"b and c\n"
