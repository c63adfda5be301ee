"""Large files copied from one repo to another by the client, without their bytes going over the wire."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from huggingface_hub import CommitOperationCopy, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from safetensors.numpy import save

from tests.services import LiveHub
from tests.wire.conftest import Run, Tokens
from tests.wire.test_wire_client import publish

Api = Callable[[str | None], HfApi]
SOURCE, NAME = "wire-alice/copied-from", "deep/model.safetensors"
WEIGHTS = save({"w": np.random.default_rng(5).normal(size=300_000).astype("<f4")}, metadata={"format": "pt"})
FETCH = """
import sys
from pathlib import Path
from huggingface_hub import HfApi
from huggingface_hub.file_download import xet_get
from huggingface_hub.utils._xet import XetFileData, XetTokenType, xet_connection_info_refresh_url
api, (repo, path, there) = HfApi(), sys.argv[1:]
row = api.get_paths_info(repo, path)[0]
route = xet_connection_info_refresh_url(token_type=XetTokenType.READ, repo_id=repo, repo_type="model", revision="main")
xet_get(incomplete_path=Path(there), xet_file_data=XetFileData(file_hash=row.xet_hash, refresh_route=route),
        headers=api._build_hf_headers(), expected_size=row.size, displayed_filename=path)
"""


@pytest.fixture(scope="module")
def source(api: Api) -> str:
    publish(api("alice"), SOURCE, {NAME: WEIGHTS, "deep/notes.txt": b"words", "top.txt": b"1"}, private=True)
    return SOURCE


def copy(api: HfApi, target: str, path: str = NAME) -> None:
    operation = CommitOperationCopy(path, "here.safetensors", src_repo_id=SOURCE, src_repo_type="model")
    api.create_commit(target, [operation], commit_message="Copy")


@pytest.mark.slow
def test_a_large_file_goes_to_other_repos(api: Api, hf: Run, source: str, tmp_path: Path) -> None:
    alice, target = api("alice"), "wire-acme/copied-to"
    alice.create_repo(target, private=True)
    copy(alice, target)
    assert alice.list_repo_files(target) == ["here.safetensors"]
    assert Path(alice.hf_hub_download(target, "here.safetensors", cache_dir=tmp_path)).read_bytes() == WEIGHTS
    alice.copy_files(f"hf://{source}/deep/", f"hf://{target}/folder/")
    hf("cp", f"hf://{source}/{NAME}", f"hf://{target}/by-command.safetensors")
    assert {"folder/model.safetensors", "folder/notes.txt", "by-command.safetensors"} < set(
        alice.list_repo_files(target)
    )
    with pytest.raises(HfHubHTTPError, match="404"):
        copy(alice, "wire-alice/nowhere")


@pytest.mark.slow
def test_strangers_copy_nothing_of_a_private_repo(api: Api, source: str) -> None:
    charlie = api("charlie")
    charlie.create_repo("wire-charlie/copied")
    with pytest.raises(RepositoryNotFoundError):
        copy(charlie, "wire-charlie/copied")
    assert charlie.list_repo_files("wire-charlie/copied") == []


@pytest.mark.slow
def test_the_name_a_whole_file_is_given_is_one_to_read_it_by(
    api: Api, python: Run, source: str, tokens: Tokens, tmp_path: Path
) -> None:
    publish(api("alice"), "wire-alice/named", {NAME: WEIGHTS})
    row = api("alice").get_paths_info("wire-alice/named", NAME)[0]
    assert row.xet_hash and row.lfs.size == len(WEIGHTS)
    assert (
        api(None).get_paths_info("wire-alice/named", NAME)[0].xet_hash is None
    )  # who may write nothing copies nothing
    python(FETCH, "wire-alice/named", NAME, str(tmp_path / "read"))
    assert (tmp_path / "read").read_bytes() == WEIGHTS
    api("charlie").create_repo("wire-charlie/other")
    stranger = python(FETCH, source, NAME, str(tmp_path / "no"), check=False, HF_TOKEN=tokens.charlie)
    assert "RepositoryNotFoundError" in stranger.stderr and not (tmp_path / "no").exists()


@pytest.mark.slow
def test_what_the_route_answers(api: Api, live_hub: LiveHub, source: str, tokens: Tokens) -> None:
    sha256 = api("alice").get_paths_info(source, NAME)[0].lfs.sha256
    api("alice").create_repo("wire-alice/beside", private=True)
    api("charlie").create_repo("wire-charlie/open", private=False)

    def ask(who: str, **body: Any) -> tuple[int, Any]:
        body = {"target": {"type": "model", "name": "wire-charlie/open"}, "files": [{"sha256": sha256}]} | body
        address, bearer = f"{live_hub.url}/api/models/{source}/lfs-files/duplicate", getattr(tokens, who)
        answer = httpx2.post(address, json=body, headers={"Authorization": f"Bearer {bearer}"})
        return answer.status_code, answer.json()

    assert ask("alice") == (200, {"failed": []})
    unknown = ask("alice", files=[{"sha256": "a" * 64}, {"sha256": sha256}])[1]["failed"]
    assert [row["sha256"] for row in unknown] == ["a" * 64]
    assert ask("charlie")[0] == 404
    assert ask("alice", target={"type": "model", "name": "wire-charlie/none"})[0] == 404
    for wrong in ({"target": 1}, {"target": {"type": "space", "name": "a/b"}}, {"files": {}}, {"files": [1]},
                  {"files": [{"sha256": "x"}]}):  # fmt: skip
        assert ask("alice", **wrong)[0] in (400, 422), json.dumps(wrong)
