"""Repos as the client lists, moves, copies, weighs and compares them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from django.test import Client
from safetensors.numpy import save

from hub.accounts.models import Account
from hub.repos import lifecycle
from hub.repos.models import Kind, Repo
from hub.review.models import ChangeRequest
from hub.wire.shapes import when
from tests.people import People, make_people, make_repo, put
from tests.wire.test_wire_routes import as_, queries

JSON = "application/json"


@pytest.fixture
def people(db: None) -> People:
    return make_people()


def post(client: Client, address: str, **body: Any) -> Any:
    return client.post(address, json.dumps(body), content_type=JSON)


def move(client: Client, before: str, after: str, kind: str = "model") -> Any:
    return post(client, "/api/repos/move", fromRepo=before, toRepo=after, type=kind)


def test_an_old_id_leads_to_the_repo_on_every_door(people: People) -> None:
    alice, repo = as_(people.alice), make_repo(people.alice, "before")
    put(people.alice, repo, {"a b.txt": b"1", "README.md": b"hello"})
    assert move(alice, "alice/before", "alice/After").status_code == 200
    answer = Client().get("/Alice/Before/resolve/refs/heads/main/a%20b.txt?download=1")
    assert (answer.status_code, answer.headers["Location"]) == (
        307,
        "/alice/After/resolve/refs/heads/main/a%20b.txt?download=1",
    )
    assert Client().get(answer.headers["Location"]).content == b"1"
    for address in (
        "/api/models/alice/before",
        "/api/models/alice/before/tree/main",
        "/alice/before",
        "/api/v1/repos/alice/before",
    ):
        answer = Client().get(address)
        assert (answer.status_code, answer.headers["Location"]) == (307, address.replace("before", "After"))
    move(alice, "alice/After", "acme/third")
    assert Client().get("/api/models/alice/before").headers["Location"] == "/api/models/acme/third"
    assert Client().get("/api/models/alice/after").headers["Location"] == "/api/models/acme/third"
    assert Client().get("/api/datasets/alice/before").status_code == 401


def test_an_old_id_tells_nothing_of_a_private_repo_and_gives_way_to_a_new_one(people: People) -> None:
    alice, repo = as_(people.alice), make_repo(people.alice, "before", private=True)
    move(alice, "alice/before", "alice/after")
    unknown = Client().get("/api/models/alice/never")
    hidden = Client().get("/api/models/alice/before")
    assert (hidden.status_code, hidden.content) == (unknown.status_code, unknown.content)
    assert as_(people.charlie).get("/api/models/alice/before").status_code == 404
    assert alice.get("/api/models/alice/before").status_code == 307
    make_repo(people.alice, "before")
    assert Client().get("/api/models/alice/before").status_code == 200
    repo.refresh_from_db()
    move(alice, "alice/after", "alice/before")  # taken: nothing changes
    assert Repo.objects.get(pk=repo.pk).name == "after"


def test_a_copy_has_the_files_and_not_the_past(people: People) -> None:
    source = make_repo(people.alice, "source", private=True)
    put(people.alice, source, {"README.md": b"---\nlicense: mit\n---\n", "d/a.txt": b"1"})
    put(people.alice, source, {"x.safetensors": save({"w": np.zeros(4, np.float32)})})
    assert post(as_(people.charlie), "/api/models/alice/source/duplicate", repository="charlie/c").status_code == 404
    answer = post(as_(people.alice), "/api/models/alice/source/duplicate", repository="acme/copy")
    assert answer.json() == {"url": "http://testserver/acme/copy", "filesCopyPending": False}
    copy = Repo.objects.with_id("acme/copy").get()
    assert (copy.private, copy.commits.count(), copy.card) == (True, 1, {"license": "mit"})
    names = {row["path"] for row in as_(people.bob).get("/api/models/acme/copy/tree/main?recursive=1").json()}
    assert names == {"README.md", "d", "d/a.txt", "x.safetensors"}
    again = post(as_(people.alice), "/api/models/alice/source/duplicate", repository="acme/copy")
    assert (again.status_code, again.json()["url"]) == (409, "http://testserver/acme/copy")
    assert post(as_(people.alice), "/api/models/alice/source/duplicate", repository="charlie/x").status_code == 403
    assert post(as_(people.alice), "/api/models/alice/source/duplicate", repository="x").status_code == 400
    assert post(as_(people.alice), "/api/models/alice/source/duplicate", repository="alice/..").status_code == 422


def test_storage_is_told_to_those_who_pay_for_it(people: People) -> None:
    repo = make_repo(people.acme, "heavy", by=people.alice)
    weights = save({"w": np.zeros(1000, np.float32)})
    put(people.alice, repo, {"w.safetensors": weights})
    put(people.alice, repo, {"d/v.safetensors": weights + b""})
    put(people.alice, make_repo(people.alice, "light"), {"a.txt": b"12345"})
    assert [(row["id"], row["storage"]) for row in as_(people.alice).get("/api/settings/repositories").json()] == [
        ("alice/light", 5)
    ]
    rows = as_(people.bob).get("/api/organizations/acme/settings/repositories").json()
    assert [(row["id"], row["visibility"], row["storagePercent"]) for row in rows] == [("acme/heavy", "public", 100.0)]
    assert Client().get("/api/settings/repositories").status_code == 401
    assert as_(people.charlie).get("/api/organizations/acme/settings/repositories").status_code == 403
    (file,) = as_(people.bob).get("/api/models/acme/heavy/lfs-files").json()
    assert (file["filename"], file["size"], file["ref"]) == ("w.safetensors", len(weights), "refs/heads/main")
    assert as_(people.charlie).get("/api/models/acme/heavy/lfs-files").status_code == 403
    few, _answer = queries(as_(people.bob), "/api/models/acme/heavy/lfs-files")
    for number in range(3):
        other = save({"w": np.full(1000, number + 1, np.float32)})
        commit = put(people.alice, repo, {f"n{number}/w.safetensors": other, "w.safetensors": other})
    lifecycle.create_branch(actor=people.actor("alice"), repo=repo, name="old", start=repo.head)
    put(people.alice, repo, {"w.safetensors": weights})
    more, answer = queries(as_(people.bob), "/api/models/acme/heavy/lfs-files")
    assert more == few
    rows = {row["filename"]: row for row in answer.json()}
    assert set(rows) == {"w.safetensors", "n0/w.safetensors", "n1/w.safetensors", "n2/w.safetensors"}
    assert rows["n2/w.safetensors"]["pushedAt"] == when(commit.created_at) > rows["w.safetensors"]["pushedAt"]
    answer = post(as_(people.bob), "/api/models/acme/heavy/lfs-files/batch", deletions={"sha": []})
    assert (answer.status_code, "super-squash" in answer.headers["X-Error-Message"]) == (501, True)


def test_headers_of_weights_in_one_request(people: People) -> None:
    repo = make_repo(people.alice, "sharded")
    index = {"metadata": {"total_size": 24}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
    put(people.alice, repo, {
        "m-1.safetensors": save({"a": np.zeros((2, 2), np.float32)}, metadata={"format": "pt"}),
        "m-2.safetensors": save({"b": np.zeros(2, np.float32)}),
        "model.safetensors.index.json": json.dumps(index).encode(),
        "lost.index.json": json.dumps({"weight_map": {"a": "gone.safetensors"}}).encode(),
        "bad.index.json": b"[1]",
    })  # fmt: skip
    base = "/api/models/alice/sharded/safetensors-metadata"
    body = Client().get(f"{base}/model.safetensors.index.json").json()
    assert body["index"] == {"metadata": {"total_size": 24}}
    assert body["headers"]["m-1.safetensors"]["a"]["shape"] == [2, 2]
    assert set(body["headers"]) == {"m-1.safetensors", "m-2.safetensors"}
    assert Client().get(f"{base}/m-2.safetensors").json()["headers"]["m-2.safetensors"]["b"]["dtype"] == "F32"
    statuses = [Client().get(f"{base}/{name}").status_code for name in ("lost.index.json", "bad.index.json", "no.json")]
    assert statuses == [404, 422, 404]


def test_two_revisions_as_a_diff(people: People) -> None:
    repo = make_repo(people.alice, "compared")
    first = put(people.alice, repo, {"a.txt": b"one\n"})
    put(people.alice, repo, {"a.txt": b"two\n"})
    text = Client().get(f"/api/models/alice/compared/compare/{first.sha}..main").content.decode()
    assert "-one\n+two\n" in text
    assert Client().get(f"/api/models/alice/compared/compare/{first.sha}...refs%2Fheads%2Fmain").status_code == 200
    for revisions, status in (("main", 400), ("main..", 400), ("..main", 400), ("main..nowhere", 404)):
        assert Client().get(f"/api/models/alice/compared/compare/{revisions}").status_code == status


def test_every_filter_of_a_list(people: People) -> None:
    def make(name: str, tags: list[str], **facts: Any) -> None:
        repo = make_repo(people.alice, name, kind=Kind.TASK if name.startswith("task") else Kind.ADAPTER)
        Repo.objects.filter(pk=repo.pk).update(tags=tags, facts=facts, card={"library_name": "peft", "language": "en"})

    make("small", ["peft", "en", "license:mit", "base_model:x/y", "base_model:adapter:x/y"], trained_parameters=40_000)
    make("large", ["transformers", "de"], base_parameters=22_000_000)
    make("task-a", ["language:en", "task_categories:text-classification", "benchmark:official"])

    def found(query: str, kind: str = "models") -> list[str]:
        return sorted(row["id"].removeprefix("alice/") for row in Client().get(f"/api/{kind}?{query}").json())

    assert found("filter=peft&filter=license:mit") == ["small"]
    assert found("filter[]=base_model:adapter:x/y") == found("library=peft") == found("language=en") == ["small"]
    assert found("num_parameters=min:1M") == found("num_parameters=min:22M,max:1B") == ["large"]
    assert found("num_parameters=max:1M") == found("num_parameters=min:40K,max:40K") == ["small"]
    assert found("inference=warm") == found("inference_provider=all") == found("apps=vllm") == found("gated=true") == []
    assert found("gated=false&search=alice/sm&search=all&author=ALICE") == ["small"]
    assert found("filter=task_categories:text-classification&filter=language:en", "datasets") == ["task-a"]
    assert found("filter=benchmark:official", "datasets") == ["task-a"]
    for wrong in ("num_parameters=lots", "sort=beauty", "limit=0", "limit=x", "cursor=x", "cursor=W10="):
        answer = Client().get(f"/api/models?{wrong}")
        assert (answer.status_code, bool(answer.json()["error"])) == (400, True), wrong
    tags = Client().get("/api/models-tags-by-type").json()
    assert {"id": "peft", "label": "peft", "type": "library"} in tags["library"]
    assert {"id": "en", "label": "en", "type": "language"} in tags["language"]
    info = Client().get("/api/models/alice/small?expand=baseModels&expand=childrenModelCount").json()
    assert info["baseModels"] == {"relation": "adapter", "models": [{"id": "x/y"}]}
    assert (info["childrenModelCount"], set(info)) == (0, {"_id", "id", "baseModels", "childrenModelCount"})


def test_fields_that_a_list_has_only_when_asked(people: People) -> None:
    base = make_repo(people.alice, "base", kind=Kind.BASE)
    put(people.alice, base, {"a.txt": b"1234"})
    put(people.alice, base, {"a.txt": b"56"})
    tags = {"tags": ["base_model:alice/base", "base_model:adapter:alice/base"]}
    for name, private in (("seen", False), ("unseen", True)):
        Repo.objects.filter(pk=make_repo(people.alice, name, private=private).pk).update(**tags)
    Repo.objects.filter(pk=base.pk).update(facts={"parameters": {"F32": 3, "I64": 2}, "dtypes": {"F32": 1, "I64": 1}})
    fields = "usedStorage childrenModelCount safetensors downloadsAllTime sha baseModels nonsense".split()
    expand = "&".join(f"expand={field}" for field in fields)
    rows = {row["id"]: row for row in Client().get(f"/api/models?{expand}").json()}
    assert set(rows) == {"alice/base", "alice/seen"}
    assert rows["alice/base"] == Client().get(f"/api/models/alice/base?{expand}").json()
    told = rows["alice/base"]
    assert (told["usedStorage"], told["childrenModelCount"], told["downloadsAllTime"]) == (6, 1, 0)
    assert told["safetensors"] == {"parameters": {"F32": 3, "I64": 2}, "total": 5}
    assert (rows["alice/seen"]["sha"], rows["alice/seen"]["safetensors"]) == ("0" * 40, None)
    task = make_repo(people.alice, "t", kind=Kind.TASK)
    put(people.alice, task, {"a.txt": b"1234"})
    put(people.alice, task, {"a.txt": b"56"})
    sizes = Client().get("/api/datasets/alice/t?expand=mainSize&expand=usedStorage").json()
    assert (sizes["mainSize"], sizes["usedStorage"]) == (2, 6)


def test_a_list_goes_on_by_its_links_alone(people: People) -> None:
    for number in range(7):
        make_repo(people.alice, f"r{number}", private=number == 3)
    seen, address = [], "/api/models?limit=2&sort=createdAt&author=alice&full=true"
    while address:
        answer = Client().get(address)
        seen += [row["id"] for row in answer.json()]
        link = answer.headers.get("Link", "")
        address = link.partition("<")[2].partition(">")[0].removeprefix("http://testserver")
        make_repo(people.alice, f"new-{len(seen)}")  # what is new does not shift the pages
    assert seen == [f"alice/r{number}" for number in (6, 5, 4, 2, 1, 0)]


def test_what_is_not_offered_says_so(people: People) -> None:
    for address in ("/api/spaces", "/api/spaces/alice/x", "/api/papers/1", "/api/buckets/alice", "/api/daily_papers",
                    "/spaces/alice/x/resolve/main/a", "/papers/2311.1.md", "/api/scheduled-jobs/alice"):  # fmt: skip
        answer = Client().get(address)
        assert (answer.status_code, "does not offer" in answer.json()["error"]) == (501, True), address
    assert Client().get("/api/no/such/thing").json() == {"error": "There is no such address in this hub's API."}
    assert Client().get("/api/users/alice/followers").json() == []
    assert Client().get("/api/organizations/nobody/followers").status_code == 404


def test_the_upstream_answers_for_owners_unknown_here(people: People, settings: Any) -> None:
    assert Client().get("/gpt2/resolve/main/config.json").status_code == 401
    settings.UPSTREAM_URL = "http://127.0.0.1:9"  # nobody listens: HEAD then says no more than where to go
    make_repo(people.alice, "secret", private=True)
    for address in ("/gpt2/resolve/main/config.json", "/api/models/gpt2", "/stranger/m/resolve/refs%2Fpr%2F1/a.txt",
                    "/api/models/stranger/m/tree/main", "/api/models/stranger/m/revision/main"):  # fmt: skip
        for ask in (Client().get, Client().head):
            answer = ask(address)
            assert (answer.status_code, answer.headers["Location"]) == (
                307,
                "http://127.0.0.1:9" + address.replace("%2F", "/"),
            )
    for address in ("/alice/secret/resolve/main/a", "/alice/none/resolve/main/a", "/api/models/alice/secret",
                    "/api/datasets/stranger/x", "/datasets/squad/resolve/main/a", "/api/models/stranger/x/discussions"):  # fmt: skip
        assert Client().get(address).status_code == 401, address
    assert Client().post("/api/models/stranger/x/preupload/main", b"{}", content_type=JSON).status_code == 401
    assert Account.objects.count() == 5


def test_files_that_gitattributes_names_are_kept_by_lfs(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"a.txt": b"plain"})
    put(people.alice, repo, {".gitattributes": b"*.jsonl filter=lfs diff=lfs merge=lfs -text\n", "one.jsonl": b"{}\n"})
    put(people.alice, repo, {"two.jsonl": b"{}\n{}\n", "empty.jsonl": b"", "b.txt": b"plain"})
    rows = Client().get("/api/models/alice/x/tree/main").json()
    assert {row["path"] for row in rows if "lfs" in row} == {"one.jsonl", "two.jsonl"}
    assert Client().get("/alice/x/resolve/main/two.jsonl").status_code == 302


def test_a_discussion_is_a_change_request_without_a_proposal(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"a.txt": b"1"})
    root, charlie = "/api/models/alice/x/discussions", as_(people.charlie)
    made = post(charlie, root, title="Why?", description="I wonder", pullRequest=False)
    assert (made.status_code, made.json()["status"], made.json()["num"]) == (201, "open", 1)
    details = Client().get(f"{root}/1?diff=1").json()
    assert (details["title"], details["isPullRequest"], "diff" in details) == ("Why?", False, False)
    assert details["events"][0]["data"]["latest"]["raw"] == "I wonder"
    assert post(as_(people.alice), f"{root}/1/merge").status_code == 409
    for status in ("closed", "open"):
        assert post(charlie, f"{root}/1/status", status=status).json()["newStatus"]["data"]["status"] == status
    row = ChangeRequest.objects.get()
    assert (row.state, row.shown_state, ChangeRequest.objects.open().exists()) == ("draft", "discussion", False)
    said = [item["data"].get("status") for item in Client().get(f"{root}/1").json()["events"]]
    assert said == [None, "closed", "open"]
    page = as_(people.alice).get("/alice/x/discussions/1").content.decode()
    assert "wants to talk" in page and 'value="closed"' in page
    assert 'value="merge"' not in page and 'value="open"' not in page
    put(people.charlie, repo, {"idea.txt": b"like this"}, branch="refs/pr/1")
    details = Client().get(f"{root}/1").json()
    assert (details["isPullRequest"], details["status"], details["changes"]["base"]) == (
        True,
        "draft",
        "refs/heads/main",
    )
