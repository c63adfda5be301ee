"""The newest client, unmodified, with Xet on: what it sends is stored in chunks, and every way to read it agrees."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest
from huggingface_hub import HfApi

from tests.services import LiveHub, store_client
from tests.wire.conftest import Run, Tokens
from tests.wire.test_wire_large import random_weights
from tests.xet_files import make_file

Api = Callable[[str | None], HfApi]
MIB = 1024**2
UPLOAD = """
import sys
from huggingface_hub import HfApi
api = HfApi(endpoint=sys.argv[1])
api.create_repo(sys.argv[2], exist_ok=True, private="private" in sys.argv)
print(api.upload_folder(folder_path=sys.argv[3], repo_id=sys.argv[2]).oid)
"""
DOWNLOAD = """
import sys
from huggingface_hub import HfApi
print(HfApi(endpoint=sys.argv[1]).snapshot_download(sys.argv[2], local_dir=sys.argv[3]))
"""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sent(hub: LiveHub, start: int) -> int:
    """How many xorbs the second web process has taken since its log had so many letters."""
    return hub.log("web2")[start:].count("/v1/xorbs/")


@pytest.mark.slow
def test_many_contents_there_and_back(
    python: Run, live_hub: LiveHub, small_parts: str, tokens: Tokens, tmp_path: Path
) -> None:
    numbers = np.random.default_rng(1)
    contents = {
        "zeros.csv": b"0\n" * (MIB + 7),
        "text.txt": b"".join(b"line %d goes on and on\n" % (n * n) for n in range(90_000)),
        "small.txt": b"0123456789",
        "empty.txt": b"",
    }
    folder = tmp_path / "in"
    folder.mkdir()
    contents["random.safetensors"] = random_weights(folder / "random.safetensors", 5 * MIB)
    normal = numbers.normal(size=600_000).astype("<f4")
    from safetensors.numpy import save

    contents["float32.safetensors"] = save({"weight": normal}, metadata={"format": "pt"})
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    start = len(live_hub.log("web2"))
    python(UPLOAD, small_parts, "wire-alice/xet-many", str(folder))
    assert sent(live_hub, start) >= 1
    assert ".git/info/lfs/" not in live_hub.log("web2")[start:]
    python(DOWNLOAD, small_parts, "wire-alice/xet-many", str(tmp_path / "out"), HF_XET_CACHE=str(tmp_path / "other"))
    for name, data in contents.items():
        assert (tmp_path / "out" / name).read_bytes() == data, name
    assert "/reconstructions/" in live_hub.log("web2")[start:]
    address = f"{small_parts}/wire-alice/xet-many/resolve/main/random.safetensors"
    plain = httpx2.get(address, headers={"Authorization": f"Bearer {tokens.alice}"})
    assert (plain.status_code, digest(plain.content)) == (200, digest(contents["random.safetensors"]))
    part = httpx2.get(address, headers={"Range": "bytes=1000000-3000000"})
    assert (part.status_code, part.content) == (206, contents["random.safetensors"][1_000_000:3_000_001])
    assert part.headers["Content-Range"] == f"bytes 1000000-3000000/{len(contents['random.safetensors'])}"
    head = httpx2.head(address)
    assert head.headers["Content-Length"] == head.headers["X-Linked-Size"] == str(len(contents["random.safetensors"]))
    api = HfApi(endpoint=small_parts, token=tokens.alice)
    row = api.get_paths_info("wire-alice/xet-many", "random.safetensors")[0]
    assert row.xet_hash == head.headers["X-Xet-Hash"]
    assert row.lfs.sha256 == digest(contents["random.safetensors"])
    python(DOWNLOAD, small_parts, "wire-alice/xet-many", str(tmp_path / "out2"), HF_HUB_DISABLE_XET="1")
    assert (tmp_path / "out2" / "text.txt").read_bytes() == contents["text.txt"]
    assert live_hub.log("web2").count(" 500 ") == 0


@pytest.mark.slow
def test_an_edit_sends_little_and_a_stranger_sees_nothing(
    python: Run, live_hub: LiveHub, small_parts: str, tokens: Tokens, tmp_path: Path
) -> None:
    folder, repo = tmp_path / "in", "wire-alice/xet-edit"
    folder.mkdir()
    path = folder / "model.safetensors"
    data = bytearray(random_weights(path, 6 * MIB))
    python(UPLOAD, small_parts, repo, str(folder), "private")
    before = stored(live_hub)
    data[3 * MIB : 3 * MIB + 1000] = os.urandom(1000)
    path.write_bytes(data)
    python(UPLOAD, small_parts, repo, str(folder))
    assert 0 < stored(live_hub) - before < 0.1 * len(data)
    bob = {"HF_TOKEN": tokens.charlie, "HF_XET_CACHE": str(tmp_path / "bob")}
    assert python(DOWNLOAD, small_parts, repo, str(tmp_path / "no"), check=False, **bob).returncode
    python(UPLOAD, small_parts, "wire-charlie/copy", str(folder), **bob)
    python(DOWNLOAD, small_parts, "wire-charlie/copy", str(tmp_path / "own"), **bob)
    assert (tmp_path / "own" / "model.safetensors").read_bytes() == data
    python(DOWNLOAD, small_parts, repo, str(tmp_path / "out"), HF_XET_CACHE=str(tmp_path / "other"))
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == data


def stored(hub: LiveHub) -> int:
    """Bytes of all xorbs."""
    pages = store_client().get_paginator("list_objects_v2").paginate(Bucket=hub.variables["S3_BUCKET"], Prefix="xorbs/")
    return sum(row["Size"] for page in pages for row in page.get("Contents", []))


PROPOSE = """
import sys
from huggingface_hub import HfApi
api = HfApi(endpoint=sys.argv[1])
print(api.upload_file(path_or_fileobj=sys.argv[3], path_in_repo="model.safetensors", repo_id=sys.argv[2],
                      create_pr=True).pr_revision)
"""


@pytest.mark.slow
def test_a_proposal_by_somebody_who_may_only_read(
    python: Run, small_parts: str, tokens: Tokens, tmp_path: Path
) -> None:
    folder, repo = tmp_path / "in", "wire-alice/xet-proposal"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    python(UPLOAD, small_parts, repo, str(folder))
    data = random_weights(tmp_path / "model.safetensors", 2 * MIB)
    charlie = {"HF_TOKEN": tokens.charlie, "HF_XET_CACHE": str(tmp_path / "charlie")}
    said = python(PROPOSE, small_parts, repo, str(tmp_path / "model.safetensors"), **charlie).stdout
    assert "refs/pr/1" in said
    answer = httpx2.get(f"{small_parts}/{repo}/resolve/refs%2Fpr%2F1/model.safetensors")
    assert answer.content == data


@pytest.mark.slow
def test_eight_writers_of_the_same_bytes_at_once(
    live_hub: LiveHub, small_parts: str, tokens: Tokens, tmp_path: Path
) -> None:
    """Four of Alice and four of Bob, all together: everybody succeeds, and one xorb is stored."""
    sent = make_file(os.urandom(3 * MIB))
    for name in ("alice", "bob"):
        api = HfApi(endpoint=small_parts, token=getattr(tokens, name))
        api.create_repo(f"wire-{name}/race", exist_ok=True)

    def write(name: str) -> list[int]:
        own = {"Authorization": f"Bearer {getattr(tokens, name)}"}
        said = httpx2.get(f"{small_parts}/api/models/wire-{name}/race/xet-write-token/main", headers=own).json()
        headers = {"Authorization": f"Bearer {said['accessToken']}"}
        answers = [
            httpx2.post(
                f"{said['casUrl']}/v1/xorbs/default/{sent.xorb}", content=sent.body, headers=headers, timeout=60
            ),
            httpx2.post(f"{said['casUrl']}/v1/shards", content=sent.shard_bytes(), headers=headers, timeout=60),
        ]
        line = {"key": "lfsFile", "value": {"path": "tokenizer.model", "algo": "sha256", "oid": sent.sha256}}
        body = "\n".join(json.dumps(row) for row in ({"key": "header", "value": {"summary": "Race"}}, line))
        address = f"{small_parts}/api/models/wire-{name}/race/commit/main"
        answers.append(httpx2.post(address, content=body, headers=own, timeout=60))
        return [answer.status_code for answer in answers]

    before = stored(live_hub)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(write, ["alice", "bob"] * 4))
    assert results == [[200, 200, 200]] * 8
    assert stored(live_hub) - before == len(sent.body)
    for name in ("alice", "bob"):
        assert httpx2.get(f"{small_parts}/wire-{name}/race/resolve/main/tokenizer.model").content == sent.data


@pytest.mark.slow
def test_a_restart_between_upload_and_commit(live_hub: LiveHub, tokens: Tokens) -> None:
    sent = make_file(os.urandom(MIB))
    HfApi(endpoint=live_hub.url, token=tokens.alice).create_repo("wire-alice/restart", exist_ok=True)
    own = {"Authorization": f"Bearer {tokens.alice}"}
    said = httpx2.get(f"{live_hub.url}/api/models/wire-alice/restart/xet-write-token/main", headers=own).json()
    headers = {"Authorization": f"Bearer {said['accessToken']}"}
    httpx2.post(f"{said['casUrl']}/v1/xorbs/default/{sent.xorb}", content=sent.body, headers=headers).raise_for_status()
    live_hub.restart("web")
    httpx2.post(f"{said['casUrl']}/v1/shards", content=sent.shard_bytes(), headers=headers).raise_for_status()
    live_hub.restart("web")
    line = {"key": "lfsFile", "value": {"path": "tokenizer.model", "algo": "sha256", "oid": sent.sha256}}
    body = "\n".join(json.dumps(row) for row in ({"key": "header", "value": {"summary": "After"}}, line))
    address = f"{live_hub.url}/api/models/wire-alice/restart/commit/main"
    httpx2.post(address, content=body, headers=own).raise_for_status()
    assert httpx2.get(f"{live_hub.url}/wire-alice/restart/resolve/main/tokenizer.model").content == sent.data
