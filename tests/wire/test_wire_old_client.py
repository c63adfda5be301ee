"""A client of the 0.x line, installed beside ours: other booleans, other headers, the same hub."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.wire.conftest import Run

VERSION = "0.36.0"
SOURCE = """
import os, sys, huggingface_hub
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.utils import EntryNotFoundError, RepositoryNotFoundError
assert huggingface_hub.__version__ == sys.argv[1]
api, folder, repo = HfApi(), sys.argv[2], "wire-alice/by-an-old-client"
assert api.whoami()["name"] == "wire-alice"
api.create_repo(repo, private=True, exist_ok=True)
first = api.upload_folder(repo_id=repo, folder_path=folder).oid
assert api.upload_folder(repo_id=repo, folder_path=folder).oid == first
assert api.model_info(repo).private
back = snapshot_download(repo)
for name in os.listdir(folder):
    assert open(os.path.join(back, name), "rb").read() == open(os.path.join(folder, name), "rb").read()
assert [row.title for row in api.list_repo_commits(repo)] == ["Upload folder using huggingface_hub"]
assert repo in [row.id for row in api.list_models(author="wire-alice", full=True)]
pull = api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo, create_pr=True)
assert pull.pr_num == 1
for call, error in ((lambda: api.hf_hub_download(repo, "no.txt"), EntryNotFoundError),
                    (lambda: api.model_info("nobody/nothing"), RepositoryNotFoundError)):
    try:
        call()
    except error:
        continue
    raise AssertionError(error)
api.delete_repo(repo)
print("fine")
"""


@pytest.fixture(scope="session")
def old_client() -> Path:
    """The packages of the old client, installed once into a folder that later runs find again."""
    folder = Path(tempfile.gettempdir()) / f"tessera-clients-{sys.version_info.minor}" / f"huggingface_hub-{VERSION}"
    done = folder / ".complete"
    if not done.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(folder)]
        subprocess.run([*pip, "--upgrade", f"huggingface_hub=={VERSION}"], check=True, timeout=240)
        done.touch()
    return folder


@pytest.mark.slow
def test_a_client_of_the_old_line(python: Run, old_client: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\nOld.\n")
    (folder / "vocab.txt").write_bytes(b"word\n" * 300_000)
    (folder / "empty.txt").write_bytes(b"")
    assert "fine" in python(SOURCE, VERSION, str(folder), PYTHONPATH=str(old_client)).stdout
