"""Everything that must not come in, at the door of the REST API: a clear sentence, and nothing half-stored."""

import base64
import hashlib
import json

import pytest
import requests

from hub.repos.models import GitObject, Repo
from hub.store.models import Blob
from tests.api.test_api_repos import API, get, post
from tests.make_adapters import hostile_configs, hostile_weights, lora_config
from tests.people import People, make_repo, put
from tests.world import client

PATHS = (
    "../x.txt", "/x.txt", "a/../b.txt", "a//b.txt", ".git/config", "a/.GIT/x.txt", "a\\b.txt", "C:x.txt", "a\nb.txt",
    "a\u202eb.txt", "con.txt", "x.txt ", "e\u0301.txt", "d/" * 9 + "x.txt", "x" * 300 + ".txt", ".",
)  # fmt: skip
KINDS = ("model.bin", "model.pt", "model.pkl", "a.zip", "a.tar.gz", "a.exe", "a.py", "a.svg", "a.html", "noname")


@pytest.fixture
def repo(people: People) -> Repo:
    return make_repo(people.alice, "x")


def refuse(people: People, files: list[dict[str, object]], status: int = 422) -> str:
    """The sentence; and nothing was stored."""
    body = {"message": "Bad", "files": [{"path": "good.txt", "content": "good"}, *files]}
    said = post(client(people.alice), "/repos/alice/x/commit", body, status)
    assert not GitObject.objects.exists()
    assert not Blob.objects.exists()
    assert len(said["error"]) > 20
    return str(said["error"])


@pytest.mark.parametrize("path", PATHS)
def test_path_tricks(people: People, repo: Repo, path: str) -> None:
    refuse(people, [{"path": path, "content": "x"}])
    asked = {"path": path, "size": 1, "sha256": "0" * 64}
    post(client(people.alice), "/repos/alice/x/uploads", asked, 422)


def test_zero_bytes_anywhere(people: People, repo: Repo) -> None:
    alice = client(people.alice)
    body = {"message": "Bad", "files": [{"path": "a\x00b.txt", "content": "x"}]}
    assert alice.post(f"{API}/repos/alice/x/commit", body, format="json").status_code == 400
    for address in (
        "/repos/alice/x%00",
        "/repos/alice/x/tree?revision=%00",
        "/repos?q=%00",
        "/jobs?repo=%00/a",
        "/compare?left=%00",
    ):
        assert alice.get(API + address).status_code in (200, 404), address


@pytest.mark.parametrize("value", ["1" + "0" * 400, "1e999", '"\\ud800"', '{"a": [99999999999999999999]}'])
def test_numbers_and_letters_that_nothing_can_keep(people: People, repo: Repo, value: str) -> None:
    for address in ("/repos/alice/x/commit", "/merges", "/teachings"):
        answer = client(people.alice).post(API + address, f'{{"message": {value}}}', content_type="application/json")
        assert answer.status_code == 400, (address, answer.content)
        assert "JSON" in answer.json()["error"]


@pytest.mark.parametrize("path", KINDS)
def test_kinds(people: People, repo: Repo, path: str) -> None:
    refuse(people, [{"path": path, "content": "x"}])
    post(client(people.alice), "/repos/alice/x/uploads", {"path": path, "size": 1, "sha256": "0" * 64}, 422)


def test_case_twins_and_files_as_folders(people: People, repo: Repo) -> None:
    assert "case" in refuse(people, [{"path": "GOOD.txt", "content": "x"}])
    assert "folder" in refuse(people, [{"path": "good.txt/x.txt", "content": "x"}])


@pytest.mark.parametrize("name", hostile_weights())
def test_weights_that_lie(people: People, repo: Repo, name: str) -> None:
    data, _code = hostile_weights()[name]
    status = 422 if len(data) < 6_000_000 else 413
    refuse(people, [{"path": "adapter_model.safetensors", "content_base64": base64.b64encode(data).decode()}], status)


def test_weights_that_lie_by_upload(people: People, repo: Repo) -> None:
    alice = client(people.alice)
    data = hostile_weights()[next(iter(hostile_weights()))][0]
    asked = {"path": "a.safetensors", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    plan = post(alice, "/repos/alice/x/uploads", asked, 200)
    assert requests.put(plan["parts"][0]["url"], data=data, timeout=30).ok
    post(alice, f"/repos/alice/x/uploads/{plan['upload']}/finish", {}, 200)
    body = {"message": "Bad", "files": [{"path": "a.safetensors", "upload": plan["upload"]}]}
    assert len(post(alice, "/repos/alice/x/commit", body, 422)["error"]) > 20
    assert not GitObject.objects.exists()


@pytest.mark.parametrize("name", hostile_configs())
def test_configs_that_lie(people: People, repo: Repo, name: str) -> None:
    data, _code = hostile_configs()[name]
    refuse(people, [{"path": "adapter_config.json", "content_base64": base64.b64encode(data).decode()}])


def test_a_hostile_expression_is_never_run(people: People, repo: Repo) -> None:
    config = json.dumps(lora_config(target_modules="(a+)+$" * 3))
    answer = client(people.alice).post(
        f"{API}/repos/alice/x/commit",
        {"message": "Slow?", "files": [{"path": "adapter_config.json", "content": config}]}, format="json",
    )  # fmt: skip
    assert answer.status_code in (201, 422)


def test_cards(people: People, repo: Repo) -> None:
    big = "# Card\n" + "words " * 400_000
    assert "bytes" in refuse(people, [{"path": "README.md", "content": big}])
    bomb = "---\na: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n---\n"
    assert "alias" in refuse(people, [{"path": "README.md", "content": bomb}]).lower()
    refuse(people, [{"path": "README.md", "content": "---\na: [\n---\n"}])


def test_bodies_that_are_none(people: People, repo: Repo) -> None:
    alice = client(people.alice)
    for raw, status in (
        (b"{", 400),
        (b"[]", 400),
        (b'"x"', 400),
        (b"\xff", 400),
        (b"null", 400),
        (b"[" * 100_000, 400),
    ):
        answer = alice.generic("POST", f"{API}/repos/alice/x/commit", raw, content_type="application/json")
        assert answer.status_code == status, (raw[:10], answer.status_code, answer.content[:200])
    assert alice.generic("POST", f"{API}/repos", b"a=1", content_type="text/weird").status_code == 415
    long = alice.generic(
        "POST", f"{API}/repos", b'{"name": "' + b"a" * 9_000_000 + b'"}', content_type="application/json"
    )
    assert long.status_code == 413
    assert alice.patch(f"{API}/methods").status_code == 405


@pytest.mark.parametrize(
    "files",
    [
        [{"path": "a.txt"}],
        [{"path": "a.txt", "content": "x", "content_base64": "eA=="}],
        [{"path": "a.txt", "content_base64": "%%%"}],
        [{"path": "a.txt", "sha256": "0" * 64}],
        [{"path": "a.txt", "upload": "00000000-0000-0000-0000-000000000000"}],
    ],
)
def test_files_without_bytes(people: People, repo: Repo, files: list[dict[str, object]]) -> None:
    refuse(people, files)


def test_fields_that_are_wrong_are_named(people: People, repo: Repo) -> None:
    alice = client(people.alice)
    said = post(alice, "/repos/alice/x/uploads", {"path": "a.txt", "size": -1, "sha256": "zz"}, 400)
    assert set(said["fields"]) == {"size", "sha256"}
    assert "parent" in post(alice, "/repos/alice/x/commit", {"message": "m", "parent": "main"}, 400)["fields"]
    post(alice, "/repos/alice/x/commit", {"message": "m"}, 422)
    post(alice, "/repos", {"name": "../x"}, 422)
    post(alice, "/repos", {"name": "x.git"}, 422)
    post(alice, "/repos", {"name": "y", "kind": "space"}, 400)
    post(alice, "/repos", {"name": "y", "owner": "mary"}, 403)


def test_deleting_what_is_not_there(people: People, repo: Repo) -> None:
    put(people.alice, repo, {"a.txt": b"a"})
    alice = client(people.alice)
    post(alice, "/repos/alice/x/commit", {"message": "m", "deletes": ["b.txt"]}, 404)
    post(alice, "/repos/alice/x/commit", {"message": "m", "branch": "nowhere", "deletes": ["a.txt"]}, 404)
    get(alice, "/repos/alice/x/tree?revision=nowhere", 404)
    get(alice, "/repos/alice/x/commits/" + "0" * 40, 404)
    get(alice, "/jobs/00000000-0000-0000-0000-000000000000", 404)
    get(alice, "/merges/99999999999999999999999", 404)
    get(alice, "/repos/alice/x/change-requests/99999999999999999999999", 404)
    get(alice, "/repos?page=99", 404)
