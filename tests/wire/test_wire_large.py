"""Large files: LFS by one PUT and by parts, what must be refused, and downloads by ranges."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from huggingface_hub import HfApi
from safetensors.numpy import save

from tests.services import LiveHub, store_client
from tests.wire.conftest import Run, Tokens

Api = Callable[[str | None], HfApi]
MIB = 1024**2
UPLOAD = """
import sys
from huggingface_hub import HfApi
api = HfApi(endpoint=sys.argv[3]) if len(sys.argv) > 3 else HfApi()
api.create_repo(sys.argv[1], exist_ok=True)
print(api.upload_file(path_or_fileobj=sys.argv[2], path_in_repo="model.safetensors", repo_id=sys.argv[1]).oid)
"""


def random_weights(path: Path, size: int) -> bytes:
    """A sound safetensors file of random values."""
    data = save({"weight": np.frombuffer(os.urandom(size), dtype=np.float32)}, metadata={"format": "pt"})
    path.write_bytes(data)
    return data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "parts", "limits"), [(6 * MIB, 0, "small"), (40 * MIB, 1, "usual"), (20 * MIB, 3, "small")]
)
def test_a_large_file_by_lfs(
    python: Run, api: Api, live_hub: LiveHub, small_parts: str, tmp_path: Path, size: int, parts: int, limits: str
) -> None:
    data = random_weights(tmp_path / "weights", size)
    repo = f"wire-alice/large-{parts}"
    address, name = (small_parts, "web2") if limits == "small" else (live_hub.url, "web")
    python(UPLOAD, repo, str(tmp_path / "weights"), address, HF_HUB_DISABLE_XET="1")
    assert (f"{repo}.git/info/lfs/complete/" in live_hub.log(name)) == bool(parts)
    assert f"{repo}.git/info/lfs/verify" in live_hub.log(name)
    back = Path(api("alice").hf_hub_download(repo, "model.safetensors", cache_dir=tmp_path / "cache"))
    assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(data).digest()
    row = api("alice").get_paths_info(repo, "model.safetensors")[0]
    assert (row.size, row.lfs.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    incoming = store_client().list_objects_v2(Bucket=live_hub.variables["S3_BUCKET"], Prefix="incoming/")
    assert incoming.get("KeyCount") == 0


def batch(hub: LiveHub, token: str, repo: str, *objects: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    answer = httpx2.post(
        f"{hub.url}/{repo}.git/info/lfs/objects/batch",
        headers={"Authorization": f"Bearer {token}"},
        json={"operation": "upload", "transfers": ["basic"], "objects": list(objects)} | more,
    )
    answer.raise_for_status()
    return answer.json()["objects"]


def commit_lines(hub: LiveHub, token: str, repo: str, *lines: str, length: bool = True) -> httpx2.Response:
    body = '{"key": "header", "value": {"summary": "By hand"}}\n' + "\n".join(lines)
    return httpx2.post(
        f"{hub.url}/api/models/{repo}/commit/main",
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"},
        content=body.encode() if length else iter([body.encode()]),
        timeout=60,
    )


def test_wrong_bytes_are_refused(live_hub: LiveHub, api: Api, tokens: Tokens) -> None:
    repo, data = "wire-alice/wrong-bytes", os.urandom(5000)
    api("alice").create_repo(repo)
    promised = hashlib.sha256(data).hexdigest()
    (row,) = batch(live_hub, tokens.alice, repo, {"oid": promised, "size": len(data)})
    upload, verify = row["actions"]["upload"], row["actions"]["verify"]
    header = {"Authorization": f"Bearer {tokens.alice}"}
    assert httpx2.post(verify["href"], json={"oid": promised, "size": 5000}, headers=header).status_code == 422
    assert httpx2.put(upload["href"], content=data + b"more").status_code == 403
    assert httpx2.put(upload["href"], content=os.urandom(5000)).status_code == 200
    answer = httpx2.post(verify["href"], json={"oid": promised, "size": 5000}, headers=header)
    assert answer.status_code == 422
    assert "Nothing was stored" in answer.headers["X-Error-Message"]
    line = f'{{"key": "lfsFile", "value": {{"path": "a.safetensors", "algo": "sha256", "oid": "{promised}"}}}}'
    refused = commit_lines(live_hub, tokens.alice, repo, line)
    assert (refused.status_code, "upload it first" in refused.json()["error"]) == (400, True)


def test_an_upload_needs_no_verify_before_its_commit(live_hub: LiveHub, api: Api, tokens: Tokens) -> None:
    repo, data = "wire-alice/unverified", save({"x": np.ones(2000, np.float32)})
    api("alice").create_repo(repo)
    oid = hashlib.sha256(data).hexdigest()
    (row,) = batch(live_hub, tokens.alice, repo, {"oid": oid, "size": len(data)})
    httpx2.put(row["actions"]["upload"]["href"], content=data).raise_for_status()
    value = f'"path": "a.safetensors", "algo": "sha256", "oid": "{oid}"'
    line = '{"key": "lfsFile", "value": {%s, "size": %d}}'
    assert commit_lines(live_hub, tokens.alice, repo, line % (value, 5)).status_code == 400
    assert commit_lines(live_hub, tokens.alice, repo, line % (value, len(data))).status_code == 200
    assert api("alice").list_repo_files(repo) == ["a.safetensors"]


def test_what_private_repos_hold_is_not_told(live_hub: LiveHub, api: Api, tokens: Tokens) -> None:
    data = save({"secret": np.random.default_rng(5).normal(size=500).astype(np.float32)})
    oid, asked = hashlib.sha256(data).hexdigest(), {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
    api("alice").create_repo("wire-alice/vault", private=True)
    api("alice").upload_file(path_or_fileobj=data, path_in_repo="s.safetensors", repo_id="wire-alice/vault")
    api("charlie").create_repo("wire-charlie/mine")
    assert "actions" in batch(live_hub, tokens.charlie, "wire-charlie/mine", asked)[0]
    api("alice").create_repo("wire-alice/another")
    assert "actions" not in batch(live_hub, tokens.alice, "wire-alice/another", asked)[0]
    line = f'{{"key": "lfsFile", "value": {{"path": "s.safetensors", "algo": "sha256", "oid": "{oid}"}}}}'
    assert commit_lines(live_hub, tokens.charlie, "wire-charlie/mine", line).status_code in (400, 422)
    rows = batch(live_hub, tokens.alice, "wire-alice/vault", asked, {"oid": "0" * 64, "size": 3}, operation="download")
    assert httpx2.get(rows[0]["actions"]["download"]["href"]).content == data
    assert rows[1]["error"]["code"] == 404
    bad = batch(
        live_hub, tokens.alice, "wire-alice/vault", {"oid": "zz", "size": 3}, {"oid": "1" * 64, "size": 1 << 50}
    )
    assert [row["error"]["code"] for row in bad] == [422, 422]


def test_ranges(live_hub: LiveHub, api: Api) -> None:
    alice, repo = api("alice"), "wire-alice/ranges"
    text, large = bytes(range(65, 91)) * 100, save({"x": np.arange(3000, dtype=np.float32)})
    alice.create_repo(repo)
    for path, data in (("small.txt", text), ("large.safetensors", large)):
        alice.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=repo)
        address = f"{live_hub.url}/{repo}/resolve/main/{path}"
        for wanted, part in (("bytes=3-9", data[3:10]), ("bytes=2000-", data[2000:]), ("bytes=-7", data[-7:])):
            answer = httpx2.get(address, headers={"Range": wanted}, follow_redirects=True)
            assert (answer.status_code, answer.content) == (206, part)
            assert answer.headers["Content-Range"].endswith(f"/{len(data)}")
        outside = httpx2.get(address, headers={"Range": "bytes=999999-"}, follow_redirects=True)
        assert outside.status_code == 416
    head = httpx2.head(f"{live_hub.url}/{repo}/resolve/main/large.safetensors")
    assert head.status_code == 200  # the store is another port of this host: 1.x clients would follow and fail
    assert head.headers["X-Linked-Size"] == head.headers["Content-Length"] == str(len(large))
    assert head.headers["X-Linked-Etag"].strip('"') == hashlib.sha256(large).hexdigest()
    head = httpx2.head(f"{live_hub.url}/{repo}/resolve/main/small.txt")
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(text)), b"")
    again = httpx2.get(head.url, headers={"If-None-Match": head.headers["ETag"]})
    assert again.status_code == 304
    missing = httpx2.head(f"{live_hub.url}/{repo}/resolve/main/nothing.json")
    assert (missing.headers["X-Error-Code"], len(missing.headers["X-Repo-Commit"])) == ("EntryNotFound", 40)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ('{"key": "file", "value": {"path": "../x.txt", "content": "eA==", "encoding": "base64"}}', 422),
        ('{"key": "file", "value": {"path": "x.txt", "content": "e*==", "encoding": "base64"}}', 400),
        ('{"key": "file", "value": {"path": "x.txt", "content": 5}}', 400),
        ('{"key": "file", "value": {"path": 5, "content": "eA=="}}', 400),
        ('{"key": "file", "value": ["x.txt"]}', 400),
        ('{"key": "file", "value": {"path": "x.txt", "content": "%s"}}' % ("!" * 200_000), 400),
        ('{"key": "%s", "value": {}}' % ("eA==" * 50_000), 400),
        ('{"key": "lfsFile", "value": {"path": "x.txt", "oid": "../../etc"}}', 400),
        ('{"key": "launch", "value": {}}', 400),
        ("[" * 100_000, 400),
        ("{nonsense", 400),
        ('"unfinished', 400),
        ("5", 400),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(live_hub: LiveHub, api: Api, tokens: Tokens, line: str, status: int) -> None:
    api("alice").create_repo("wire-alice/hostile-bodies", exist_ok=True)
    answer = commit_lines(live_hub, tokens.alice, "wire-alice/hostile-bodies", line)
    assert answer.status_code == status
    assert answer.json()["error"] == answer.headers["X-Error-Message"]
    assert api("alice").list_repo_files("wire-alice/hostile-bodies") == []


def test_a_body_without_a_length_and_one_too_large(
    live_hub: LiveHub, small_parts: str, api: Api, tokens: Tokens
) -> None:
    repo = "wire-alice/chunked"
    api("alice").create_repo(repo)
    line = '{"key": "file", "value": {"path": "x.txt", "content": "%s"}}'
    assert commit_lines(live_hub, tokens.alice, repo, line % ("eHl6" * 100_000), length=False).status_code == 200
    assert api("alice").get_paths_info(repo, "x.txt")[0].size == 300_000
    small = LiveHub(small_parts, live_hub.state, live_hub.variables)
    assert commit_lines(small, tokens.alice, repo, line % ("eHl6" * 500_000)).status_code == 413
