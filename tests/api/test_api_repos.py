"""Repos, files, commits, refs and uploads over the REST API."""

import base64
import hashlib

import requests
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hub.repos.models import Kind, Repo
from tests.make_adapters import CARD
from tests.people import People, make_repo, put
from tests.publishing import do_jobs
from tests.world import World, client

API = "/api/v1"


def post(who, address, body, status=201, **headers):
    answer = who.post(API + address, body, format="json", **headers)
    assert answer.status_code == status, (answer.status_code, answer.content)
    return answer.json()


def get(who, address, status=200):
    answer = who.get(API + address)
    assert answer.status_code == status, (answer.status_code, answer.content)
    return answer.json()


def test_the_life_of_a_repo(people: People) -> None:
    alice = client(people.alice)
    made = post(alice, "/repos", {"name": "Moods", "owner": "acme", "description": "Tells moods"})
    assert (made["id"], made["kind"], made["private"], made["head"]) == ("acme/Moods", "adapter", False, "")
    assert "admin" in made["may"]
    post(alice, "/repos", {"name": "moods", "owner": "acme"}, 409)
    changed = alice.patch(f"{API}/repos/acme/moods", {"private": True, "description": "Hidden"}, format="json").json()
    assert (changed["private"], changed["description"]) == (True, "Hidden")
    assert alice.put(f"{API}/repos/acme/moods/like").status_code == 204
    shown = get(alice, "/repos/acme/moods")
    assert (shown["liked"], shown["likes"]) == (True, 1)
    assert alice.delete(f"{API}/repos/acme/moods/like").status_code == 204
    assert post(alice, "/repos/acme/moods/move", {"owner": "alice", "name": "tempers"}, 200)["id"] == "alice/tempers"
    get(alice, "/repos/acme/moods", 307)
    assert alice.delete(f"{API}/repos/alice/tempers").status_code == 400
    assert alice.delete(f"{API}/repos/alice/tempers?confirm=alice/tempers").status_code == 204
    assert not Repo.objects.exists()


def test_a_task_and_a_model_of_one_name(people: People) -> None:
    alice = client(people.alice)
    post(alice, "/repos", {"name": "same", "kind": "task"})
    get(alice, "/repos/alice/same", 404)
    assert get(alice, "/tasks/alice/same")["url"] == "/datasets/alice/same"
    post(alice, "/repos", {"name": "same"})
    assert get(alice, "/repos/alice/same")["kind"] == "adapter"


def test_commit_read_and_go_back(people: People) -> None:
    alice = client(people.alice)
    post(alice, "/repos", {"name": "x"})
    first = post(alice, "/repos/alice/x/commit", {
        "message": "First",
        "files": [{"path": "README.md", "content": CARD},
                  {"path": "notes/a.txt", "content_base64": base64.b64encode(b"hello\n").decode()}],
    })  # fmt: skip
    assert (first["change_request"], first["url"]) == (None, "/alice/x")
    tree = get(alice, "/repos/alice/x/tree")
    assert ([row["path"] for row in tree["folders"]], [row["path"] for row in tree["files"]]) == (
        ["notes"],
        ["README.md"],
    )
    assert [row["path"] for row in get(alice, "/repos/alice/x/tree?recursive=1&path=notes")["files"]] == ["notes/a.txt"]
    about = get(alice, "/repos/alice/x/files/notes/a.txt")
    assert (about["size"], about["commit"]) == (6, first["commit"])
    away = alice.get(f"{API}/repos/alice/x/download/notes/a.txt")
    assert away.status_code == 302
    assert alice.get(away["Location"]).content == b"hello\n"
    second = post(alice, "/repos/alice/x/commit", {"message": "Less", "parent": first["commit"], "deletes": ["notes/"]})
    get(alice, "/repos/alice/x/files/notes/a.txt", 404)
    get(alice, f"/repos/alice/x/files/notes/a.txt?revision={first['commit']}")
    commits = get(alice, "/repos/alice/x/commits")
    assert [row["title"] for row in commits["results"]] == ["Less", "First"]
    assert get(alice, f"/repos/alice/x/commits/{second['commit']}")["files"] == [
        {"path": "notes/a.txt", "status": "removed"}
    ]
    stale = {"message": "Stale", "parent": first["commit"], "files": [{"path": "b.txt", "content": "b"}]}
    refused = post(alice, "/repos/alice/x/commit", stale, 412)
    assert refused["head"] == second["commit"]
    assert refused["code"] == "conflict"


def test_refs(people: People) -> None:
    alice = client(people.alice)
    put(people.alice, make_repo(people.alice, "x"), {"a.txt": b"a"})
    post(alice, "/repos/alice/x/refs", {"type": "branch", "name": "try/one"})
    post(alice, "/repos/alice/x/refs", {"type": "tag", "name": "v1", "revision": "try/one"})
    post(alice, "/repos/alice/x/refs", {"type": "tag", "name": "v1"}, 409)
    post(alice, "/repos/alice/x/refs", {"type": "branch", "name": "../x"}, 422)
    post(
        alice,
        "/repos/alice/x/commit",
        {"message": "On it", "branch": "try/one", "files": [{"path": "b.txt", "content": "b"}]},
    )
    names = [row["ref"] for row in get(alice, "/repos/alice/x/refs")["results"]]
    assert names == ["refs/heads/main", "refs/heads/try/one", "refs/tags/v1"]
    assert alice.delete(f"{API}/repos/alice/x/refs/branches/try/one").status_code == 204
    assert alice.delete(f"{API}/repos/alice/x/refs/tags/v1").status_code == 204
    for name in ("main", "refs/heads/main", "refs/pr/1"):
        assert alice.delete(f"{API}/repos/alice/x/refs/branches/{name}").status_code == 422
    assert [row["ref"] for row in get(alice, "/repos/alice/x/refs")["results"]] == ["refs/heads/main"]


def upload(who, base, path, data):
    """As the upload page does it: announce, PUT the parts, finish; the row for the commit."""
    sha256 = hashlib.sha256(data).hexdigest()
    plan = post(who, f"{base}/uploads", {"path": path, "size": len(data), "sha256": sha256}, 200)
    if plan["present"]:
        return {"path": path, "sha256": sha256}
    start, etags = 0, []
    for part in plan["parts"]:
        answer = requests.put(part["url"], data=data[start : start + part["size"]], timeout=30)
        assert answer.ok, answer.text
        etags.append(answer.headers["ETag"])
        start += part["size"]
    done = post(who, f"{base}/uploads/{plan['upload']}/finish", {"etags": etags}, 200)
    assert done == {"sha256": sha256, "size": len(data)}
    return {"path": path, "upload": plan["upload"]}


def test_upload_whole_and_in_parts(people: People, settings) -> None:
    alice = client(people.alice)
    post(alice, "/repos", {"name": "x", "kind": "task"})
    settings.LIMITS = settings.LIMITS | {"part_bytes": 5 * 1024 * 1024}
    long = b"text,label\n" + b"words,yes\n" * 700_000
    rows = [upload(alice, "/tasks/alice/x", "train.csv", long), upload(alice, "/tasks/alice/x", "notes.txt", b"small")]
    post(alice, "/tasks/alice/x/commit", {"message": "Files", "files": rows})
    files = {row["path"]: row for row in get(alice, "/tasks/alice/x/tree")["files"]}
    assert files["train.csv"]["sha256"] == hashlib.sha256(long).hexdigest()
    assert (files["notes.txt"]["sha256"], files["notes.txt"]["size"]) == (None, 5)
    assert upload(alice, "/tasks/alice/x", "again.csv", long) == {
        "path": "again.csv",
        "sha256": files["train.csv"]["sha256"],
    }
    bob = client(people.bob)
    assert "upload" in upload(bob, "/tasks/alice/x", "again.csv", b"other" * 10)


def test_an_upload_goes_on_where_it_stopped(people: People, settings) -> None:
    alice = client(people.alice)
    post(alice, "/repos", {"name": "x", "kind": "task"})
    settings.LIMITS = settings.LIMITS | {"part_bytes": 5 * 1024 * 1024}
    data = b"ab,cd\n" * 1_000_000
    asked = {"path": "train.csv", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    plan = post(alice, "/tasks/alice/x/uploads", asked, 200)
    assert requests.put(plan["parts"][0]["url"], data=data[: plan["parts"][0]["size"]], timeout=30).ok
    again = post(alice, "/tasks/alice/x/uploads", asked, 200)
    assert again["upload"] == plan["upload"]
    assert [bool(part["etag"]) for part in again["parts"]] == [True, False]
    post(alice, f"/tasks/alice/x/uploads/{plan['upload']}/finish", {"etags": []}, 422)


def test_wrong_bytes_are_not_kept(people: People) -> None:
    alice = client(people.alice)
    post(alice, "/repos", {"name": "x"})
    asked = {"path": "a.safetensors", "size": 4, "sha256": hashlib.sha256(b"what").hexdigest()}
    plan = post(alice, "/repos/alice/x/uploads", asked, 200)
    assert requests.put(plan["parts"][0]["url"], data=b"else", timeout=30).ok
    said = post(alice, f"/repos/alice/x/uploads/{plan['upload']}/finish", {}, 422)
    assert said["code"] == "wrong_bytes"
    commit = {"message": "x", "files": [{"path": "a.safetensors", "upload": plan["upload"]}]}
    assert "have not arrived" in post(alice, "/repos/alice/x/commit", commit, 422)["error"]


def test_one_key_one_upload(people: People) -> None:
    alice, bob = client(people.alice), client(people.bob)
    post(alice, "/repos", {"name": "x"})
    body = {"path": "a.safetensors", "size": 4, "sha256": "a" * 64}
    first = post(alice, "/repos/alice/x/uploads", body, 200, headers={"Idempotency-Key": "k1"})
    assert post(alice, "/repos/alice/x/uploads", body, 200, headers={"Idempotency-Key": "k1"}) == first
    post(alice, "/repos/alice/x/uploads", body | {"size": 5}, 422, headers={"Idempotency-Key": "k1"})
    other = post(bob, "/repos/alice/x/uploads", body, 200, headers={"Idempotency-Key": "k1"})
    assert other["upload"] != first["upload"]


def test_search_and_facets(world: World, people: People) -> None:
    Repo.objects.filter(owner=people.alice).update(private=False)
    found = get(client(), "/repos?kind=adapter&method=lora&license=apache-2.0&sort=name")
    assert [row["id"] for row in found["results"]] == ["alice/secret-lora", "alice/secret-other"]
    assert found["results"][0]["facts"]["method"] == "LoRA"
    assert [row["id"] for row in get(client(), "/repos?q=tiny")["results"]] == ["acme/tiny-bert"]
    assert [row["id"] for row in get(client(), "/repos?task=acme/reviews&q=other")["results"]] == ["alice/secret-other"]
    facets = get(client(), "/facets?method=lora")
    assert {"value": "adapter", "label": "Adapter", "count": 2, "selected": False} in facets["kind"]
    assert facets["base"][0]["value"] == "acme/tiny-bert"
    get(client(), "/repos?sort=nonsense", 400)


def test_what_is_known_of_a_revision(world: World, people: People) -> None:
    alice = client(people.alice)
    facts = get(alice, "/repos/alice/secret-lora/facts")
    assert (facts["facts"]["method"], facts["commit"]) == ("LoRA", world.adapter.head)
    assert facts["job"]
    checks = get(alice, "/repos/alice/secret-lora/checks")["results"]
    assert {row["verdict"] for row in checks} <= {"pass", "warn"}
    lineage = get(alice, "/repos/alice/secret-lora/lineage")
    assert {(row["repo"], row["relation"]) for row in lineage["made_from"]} == {
        ("acme/tiny-bert", "adapter"),
        ("alice/secret-task", "task"),
    }
    children = get(client(), "/repos/acme/tiny-bert/lineage")["used_in"]
    assert children == []
    assert "alice/secret-lora" in [row["repo"] for row in get(alice, "/repos/acme/tiny-bert/lineage")["used_in"]]
    snippets = get(alice, "/repos/alice/secret-lora/snippets")
    assert any("PeftModel" in row["code"] and world.adapter.head in row["code"] for row in snippets)
    task = get(alice, "/tasks/alice/secret-task/facts")["facts"]
    assert task["splits"]["test"]["rows"] == 12
    Repo.objects.filter(pk=world.adapter.pk).update(private=False)
    hidden = [row for row in get(client(), "/repos/alice/secret-lora/lineage")["made_from"] if row["repo"] is None]
    assert [(row["relation"], row["sha"]) for row in hidden] == [("task", "")]


def test_compare(world: World, people: People) -> None:
    alice = client(people.alice)
    address = "/compare?left=alice/secret-lora&right=alice/secret-other"
    first = get(alice, address)
    changed = {row["path"]: row["status"] for row in first["files"]}
    assert changed["adapter_model.safetensors"] == "changed"
    assert first["weights"][0]["job"]
    do_jobs()
    second = get(alice, address)["weights"][0]
    assert second["job"] is None
    assert any(row["relative_norm"] for row in second["tensors"])
    assert second["folder"] == ""
    assert "updates" in second["summary"]
    assert sum(second["counts"].values()) == len(get(alice, address + "&unchanged=1")["weights"][0]["tensors"])
    update = next(row for row in second["tensors"] if row["unit"] == "update")
    assert update["spectrum"]["effective_rank"] > 1
    assert {part["status"] for part in update["parts"]} == {"changed"}
    tensors = get(alice, "/repos/alice/secret-lora/tensors")["results"]
    assert {row["changed_by"] for row in tensors} == {world.adapter.head}
    name = tensors[0]["name"]
    history = get(alice, f"/repos/alice/secret-lora/tensors/history?name={name}")
    assert [step["commit"] for step in history["steps"]] == [world.adapter.head]
    assert get(alice, "/repos/alice/secret-lora/tensors/history?name=nothing")["steps"] == []
    get(alice, "/compare?left=alice/secret-lora@nowhere&right=acme/tiny-bert", 404)
    get(alice, "/compare?left=alice", 404)
    tasks = get(alice, "/compare?left=tasks/alice/secret-task&right=tasks/alice/secret-task@refs/pr/1")
    assert tasks["files"][0]["status"] == "added"


def test_lists_cost_the_same_for_more_rows(people: People) -> None:
    def cost(address: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            get(client(), address)
        return len(queries)

    seen: list[dict[str, int]] = []
    for start in (0, 10):
        for number in range(start, start + 10):
            repo = make_repo(people.alice if number % 2 else people.acme, f"r{number}", by=people.alice)
            put(people.alice, repo, {"a.txt": b"a"})
        found = {
            address: cost(address) for address in ("/repos", "/facets", "/jobs", "/activity", "/repos/alice/r1/refs")
        }
        seen.append(found)
    assert seen[0] == seen[1]
    assert found["/repos"] <= 4
    assert Repo.objects.filter(kind=Kind.ADAPTER).count() == 20
