"""Stock git and git-lfs against a live hub: clone, fetch, pull, push, and every refusal in words."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from safetensors.numpy import save

from tests.services import LiveHub
from tests.wire.conftest import Tokens

pytestmark = pytest.mark.skipif(
    not shutil.which("git-lfs") and not os.environ.get("REQUIRE_BROWSER"), reason="git-lfs is not installed"
)
Git = Callable[..., subprocess.CompletedProcess[str]]
WEIGHTS = save({"w": np.arange(5000, dtype=np.float32)})


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """`git("clone", …)` in a home of its own; fails the test unless `check=False`."""
    home = tmp_path / "home"
    home.mkdir()
    variables = {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}

    def run(*words: str, at: Path = tmp_path, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["git", *words], cwd=at, env=variables, capture_output=True, text=True, check=False, timeout=120
        )
        if check and done.returncode:
            pytest.fail(
                f"git {' '.join(words)} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            )
        return done

    run("lfs", "install")
    run("config", "--global", "user.name", "Alice")
    run("config", "--global", "user.email", "alice@example.org")
    return run


def address(hub: LiveHub, repo: str, token: str = "") -> str:
    return hub.url.replace("://", f"://any:{token}@" if token else "://") + f"/{repo}"


def test_clone_fetch_and_lfs(live_hub: LiveHub, tokens: Tokens, git: Git, tmp_path: Path) -> None:
    api, repo = HfApi(endpoint=live_hub.url, token=tokens.alice), "wire-alice/cloned"
    api.create_repo(repo)
    files = {
        "README.md": b"---\nlicense: mit\n---\nHi\n",
        "w.safetensors": WEIGHTS,
        "d/e/a.txt": b"one\n",
        "empty.txt": b"",
    }
    api.create_commit(repo, [CommitOperationAdd(path, data) for path, data in files.items()], commit_message="One")
    git("clone", address(live_hub, repo), "a")
    git("lfs", "pull", at=tmp_path / "a")
    for path, data in files.items():
        assert (tmp_path / "a" / path).read_bytes() == data
    for text in ("two\n", "three\n"):
        last = api.upload_file(
            path_or_fileobj=text.encode(), path_in_repo="d/e/a.txt", repo_id=repo, commit_message=text
        )
    api.upload_file(path_or_fileobj=b"idea", path_in_repo="idea.txt", repo_id=repo, create_pr=True)
    git("reset", "-q", "--hard", at=tmp_path / "a")
    git("pull", "-q", at=tmp_path / "a")
    assert git("rev-parse", "HEAD", at=tmp_path / "a").stdout.strip() == last.oid
    assert (tmp_path / "a/d/e/a.txt").read_text() == "three\n"
    git("fetch", "-q", "origin", "refs/pr/1:idea", at=tmp_path / "a")
    assert git("show", "idea:idea.txt", at=tmp_path / "a").stdout == "idea"
    git("clone", "-q", "--depth", "1", address(live_hub, f"{repo}.git"), "b")
    assert git("rev-list", "--count", "HEAD", at=tmp_path / "b").stdout.strip() == "1"
    git("fetch", "-q", "--depth", "2", at=tmp_path / "b")
    assert git("rev-list", "--count", "HEAD", at=tmp_path / "b").stdout.strip() == "2"
    git("fetch", "-q", "--unshallow", at=tmp_path / "b")
    assert git("rev-list", "--count", "HEAD", at=tmp_path / "b").stdout.strip() == "3"
    for folder in ("a", "b"):
        git("fsck", "--strict", at=tmp_path / folder)


def test_private_repos_need_the_token(live_hub: LiveHub, tokens: Tokens, git: Git) -> None:
    HfApi(endpoint=live_hub.url, token=tokens.alice).create_repo("wire-alice/closed", private=True)
    refused = git("clone", address(live_hub, "wire-alice/closed"), "x", check=False)
    assert "could not read Username" in refused.stderr  # it would have asked
    assert "not found" in git("clone", address(live_hub, "wire-alice/closed", tokens.charlie), "x", check=False).stderr
    assert (
        "Authentication failed"
        in git("clone", address(live_hub, "wire-alice/closed", "hf_no"), "x", check=False).stderr
    )
    assert "empty repository" in git("clone", address(live_hub, "wire-alice/closed", tokens.alice), "x").stderr


def test_push_by_the_same_rules(live_hub: LiveHub, tokens: Tokens, git: Git, tmp_path: Path) -> None:
    api, repo, here = HfApi(endpoint=live_hub.url, token=tokens.alice), "wire-alice/pushed", tmp_path / "x"
    api.create_repo(repo)
    git("clone", "-q", address(live_hub, repo, tokens.alice), "x")
    git("lfs", "track", "*.safetensors", at=here)
    (here / "w.safetensors").write_bytes(WEIGHTS)
    (here / "README.md").write_text("---\nlicense: mit\n---\nHello\n")

    def commit(message: str) -> None:
        git("add", "-A", at=here)
        git("commit", "-qm", message, at=here)

    def refused(*words: str) -> str:
        done = git("push", "origin", *words, at=here, check=False)
        assert done.returncode
        return done.stderr

    commit("First")
    for number in range(3):
        (here / "a.txt").write_text(f"{number}\n" * 50)
        commit(f"Number {number}")
    git("push", "-q", "origin", "HEAD:main", at=here)
    head = git("rev-parse", "HEAD", at=here).stdout.strip()
    assert api.model_info(repo).sha == head
    assert [row.title for row in api.list_repo_commits(repo)] == ["Number 2", "Number 1", "Number 0", "First"]
    assert Path(api.hf_hub_download(repo, "w.safetensors", cache_dir=tmp_path / "c")).read_bytes() == WEIGHTS
    assert api.model_info(repo).card_data.license == "mit"
    git("push", "-q", "origin", "HEAD:more", at=here)
    git("tag", "v1", at=here)
    git("push", "-q", "origin", "v1", at=here)
    assert {ref.name for ref in api.list_repo_refs(repo).branches} == {"main", "more"}
    # what no door lets in
    for name, content, words in (
        ("model.bin", b"\x80\x02x", "pickled weights"),
        ("long.txt", b"x" * 2_000_000, "git lfs track"),
        ("README.md", b"---\na: [\n---\n", "README.md"),
        ("A.TXT", b"twin", "only in case"),
    ):
        (here / name).write_bytes(content)
        commit("Bad")
        assert words in refused("HEAD:main")
        git("reset", "-q", "--hard", head, at=here)
    (here / "link.txt").symlink_to("a.txt")
    commit("Link")
    assert "symbolic links" in refused("HEAD:main")
    git("reset", "-q", "--hard", head + "~1", at=here)
    (here / "other.txt").write_text("other")
    commit("Other way")
    assert "only goes forward" in refused("-f", "HEAD:main")
    assert "cannot be removed" in refused(":main")
    git("push", "-qf", "origin", "HEAD:more", at=here)
    git("push", "-q", "origin", ":more", at=here)
    git("tag", "-am", "annotated", "v2", at=here)
    assert "Annotated tags" in refused("v2")
    assert api.model_info(repo).sha == head
    # proposed by a stranger, through git
    charlie = HfApi(endpoint=live_hub.url, token=tokens.charlie)
    number = charlie.create_pull_request(repo, title="By git").num
    git("remote", "set-url", "origin", address(live_hub, repo, tokens.charlie), at=here)
    git("reset", "-q", "--hard", head, at=here)
    (here / "idea.txt").write_text("idea")
    commit("An idea")
    assert "may not write" in refused("HEAD:main")
    git("push", "-q", "origin", f"HEAD:refs/pr/{number}", at=here)
    api.merge_pull_request(repo, number)
    assert api.file_exists(repo, "idea.txt")
    assert any(event.type == "commit" for event in api.get_discussion_details(repo, number).events)
