"""What others build on the client, and what happens around it: data sets, restarts, two writers at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.services import LiveHub
from tests.wire.conftest import Run, Tokens
from tests.wire.test_wire_client import publish

Api = Callable[[str | None], HfApi]
LOAD = """
import sys
from datasets import load_dataset
from huggingface_hub import HfFileSystem
repo = sys.argv[1]
both = load_dataset(repo)
assert {name: split.num_rows for name, split in both.items()} == {"train": 40, "test": 10}, both
assert both["train"][3] == {"text": "example 3", "label": "odd"}
streamed = list(load_dataset(repo, split="test", streaming=True))
assert streamed[0]["text"] == "example 0" and len(streamed) == 10
parquet = load_dataset(repo, data_files={"train": "extra/more.parquet"}, split="train")
assert parquet["x"] == [1, 2, 3]
files = HfFileSystem()
assert files.read_text(f"datasets/{repo}/README.md").startswith("---")
assert sorted(files.glob(f"datasets/{repo}/*.jsonl")) == [f"datasets/{repo}/test.jsonl", f"datasets/{repo}/train.jsonl"]
with files.open(f"datasets/{repo}/extra/notes.txt", "w") as notes:
    notes.write("written through a file system")
assert files.cat_file(f"datasets/{repo}/extra/notes.txt", start=8, end=15) == b"through"
files.rm(f"datasets/{repo}/extra/notes.txt")
assert not files.exists(f"datasets/{repo}/extra/notes.txt")
print("loaded")
"""
PUSH = """
import sys
from datasets import Dataset, DatasetDict, get_dataset_config_names, load_dataset
rows = Dataset.from_dict({"text": ["a", "b"] * 50, "label": [0, 1] * 50})
rows.push_to_hub(sys.argv[1])
assert load_dataset(sys.argv[1], split="train").to_dict() == rows.to_dict()
DatasetDict(train=rows, test=rows.select(range(10))).push_to_hub(sys.argv[1], config_name="two", create_pr=False)
assert get_dataset_config_names(sys.argv[1]) == ["default", "two"]
assert load_dataset(sys.argv[1], "two", split="test").num_rows == 10
rows.push_to_hub("wire-acme/pushed", private=True)
print("pushed")
"""


def rows(count: int) -> bytes:
    lines = ({"text": f"example {number}", "label": "odd" if number % 2 else "even"} for number in range(count))
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.mark.slow
def test_a_task_as_a_data_set(api: Api, python: Run, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2, 3]}), tmp_path / "more.parquet")
    card = b"---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train, path: train.jsonl}\n  - {split: test, path: test.jsonl}\n---\nA task.\n"
    files = {"README.md": card, "train.jsonl": rows(40), "test.jsonl": rows(10)}
    files["extra/more.parquet"] = (tmp_path / "more.parquet").read_bytes()
    publish(api("alice"), "wire-alice/a-task", files, repo_type="dataset", private=True)
    assert "loaded" in python(LOAD, "wire-alice/a-task").stdout


@pytest.mark.slow
def test_a_data_set_pushed_by_its_own_library(api: Api, python: Run, tokens: Tokens) -> None:
    """It asks for the head of a repo that is empty, and sends Parquet before its commit, whose file is gone by then."""
    assert "pushed" in python(PUSH, "wire-alice/pushed").stdout
    assert "data/train-00000-of-00001.parquet" in api("bob").list_repo_files("wire-acme/pushed", repo_type="dataset")
    stranger = python(LOAD, "wire-acme/pushed", check=False, HF_TOKEN=tokens.charlie)
    assert "DatasetNotFoundError" in stranger.stderr


@pytest.mark.slow
@pytest.mark.parametrize("xet", ["", "1"])
def test_a_restart_between_upload_and_commit(live_hub: LiveHub, python: Run, tmp_path: Path, xet: str) -> None:
    """Bytes that arrived before the server went down are there when the commit names them."""
    first = """
import pickle, sys
from huggingface_hub import CommitOperationAdd, HfApi
api, repo, work = HfApi(), sys.argv[1], sys.argv[2]
api.create_repo(repo)
open(work + "/large.model", "wb").write(bytes(range(256)) * 140_000)
add = CommitOperationAdd("large.model", work + "/large.model")
api.preupload_lfs_files(repo, [add])
assert add._upload_mode == "lfs" and add._is_uploaded
pickle.dump((add.upload_info.sha256, add.upload_info.size), open(work + "/sent", "wb"))
"""
    second = """
import hashlib, sys
from huggingface_hub import CommitOperationAdd, HfApi
api, repo, work = HfApi(), sys.argv[1], sys.argv[2]
add = CommitOperationAdd("large.model", work + "/large.model")
add._upload_mode, add._is_uploaded = "lfs", True  # nothing is sent again
api.create_commit(repo, [add], commit_message="After the restart")
back = api.hf_hub_download(repo, "large.model")
assert open(back, "rb").read() == bytes(range(256)) * 140_000
print("kept")
"""
    repo, variables = f"wire-alice/restarted-{xet or 'xet'}", {"HF_HUB_DISABLE_XET": xet or "0"}
    python(first, repo, str(tmp_path), **variables)
    live_hub.restart("web")
    assert "kept" in python(second, repo, str(tmp_path), **variables).stdout


def test_two_writers_at_once(api: Api) -> None:
    """Without a parent both get through, one after the other; with one, exactly one does, and loses nothing."""
    alice, repo = api("alice"), "wire-alice/busy"
    head = publish(alice, repo, {"README.md": b"---\nlicense: mit\n---\n"})

    def write(number: int, parent: str | None = None) -> str:
        add = [CommitOperationAdd(f"{number}.txt", str(number).encode())]
        try:
            return alice.create_commit(repo, add, commit_message=f"Writer {number}", parent_commit=parent).oid
        except HfHubHTTPError as error:
            return "late" if "412" in str(error) and "redo the change on top" in str(error) else str(error)

    with ThreadPoolExecutor(6) as pool:
        raced = list(pool.map(lambda number: write(number, head), range(6)))
    assert len([oid for oid in raced if oid != "late"]) == 1
    with ThreadPoolExecutor(6) as pool:
        assert "late" not in list(pool.map(write, range(10, 16)))
    assert len(alice.list_repo_commits(repo)) == 8
    assert {f"{number}.txt" for number in range(10, 16)} <= set(alice.list_repo_files(repo))
