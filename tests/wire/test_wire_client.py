"""The newest client, unmodified: publish, look, fetch, change, propose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.make_adapters import lora_config, lora_tensors
from tests.wire.conftest import Run

Api = Callable[[str | None], HfApi]
CARD = b"---\nlicense: mit\ntags: [wire]\n---\nA card.\n"


def adapter_files(rank: int = 2) -> dict[str, bytes]:
    from safetensors.numpy import save

    return {
        "README.md": CARD,
        "adapter_config.json": json.dumps(lora_config(r=rank)).encode(),
        "adapter_model.safetensors": save(lora_tensors(rank=rank), metadata={"format": "pt"}),
    }


def publish(api: HfApi, repo: str, files: dict[str, bytes] | None = None, **more: object) -> str:
    """A repo with these files (an adapter's, if none are named); returns the commit."""
    api.create_repo(repo, exist_ok=True, **more)
    adds = [CommitOperationAdd(path, data) for path, data in (files or adapter_files()).items()]
    return api.create_commit(repo, adds, commit_message="Publish", repo_type=more.get("repo_type")).oid


def test_login_and_upload_and_download_by_the_command(hf: Run, tokens: object, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    for path, data in adapter_files().items():
        (folder / path).write_bytes(data)
    hf("auth", "login", "--token", tokens.alice, HF_TOKEN="")
    assert "wire-alice" in hf("auth", "whoami", HF_TOKEN="").stdout
    assert "wire-alice/by-command" in hf("upload", "wire-alice/by-command", str(folder), ".", HF_TOKEN="").stdout
    hf("upload", "wire-alice/by-command", str(folder / "README.md"), "notes/more.md")
    hf("download", "wire-alice/by-command", "--local-dir", str(tmp_path / "back"), HF_TOKEN="")
    found = {
        str(path.relative_to(tmp_path / "back")) for path in (tmp_path / "back").rglob("*.[mjs]*") if path.is_file()
    }
    assert {*adapter_files(), "notes/more.md"} <= found
    assert (tmp_path / "back/adapter_model.safetensors").read_bytes() == adapter_files()["adapter_model.safetensors"]


def test_snapshot_and_a_second_upload_that_changes_nothing(api: Api, tmp_path: Path) -> None:
    alice, repo = api("alice"), "wire-alice/snapshot"
    first = publish(alice, repo, {**adapter_files(), "deep/er/notes.txt": b"hello"})
    folder = Path(alice.snapshot_download(repo, cache_dir=tmp_path / "cache"))
    assert folder.name == first
    for path, data in {**adapter_files(), "deep/er/notes.txt": b"hello"}.items():
        assert (folder / path).read_bytes() == data
    again = alice.upload_folder(repo_id=repo, folder_path=folder, ignore_patterns=[".cache*"])
    assert again.oid == first
    assert len(alice.list_repo_commits(repo)) == 1


def test_info_tree_and_paths(api: Api) -> None:
    alice, repo = api("alice"), "wire-alice/looked-at"
    sha = publish(alice, repo, {**adapter_files(), "deep/er/notes.txt": b"hello"})
    info = alice.model_info("WIRE-Alice/Looked-At", files_metadata=True, securityStatus=True)
    assert (info.id, info.sha, info.private, info.author) == (repo, sha, False, "wire-alice")
    large = next(file for file in info.siblings if file.rfilename == "adapter_model.safetensors")
    assert large.size == large.lfs.size == len(adapter_files()["adapter_model.safetensors"])
    assert info.card_data.license == "mit"
    assert alice.model_info(repo, expand=["sha", "siblings"]).siblings
    rows = {row.path: row for row in alice.list_repo_tree(repo, recursive=True, expand=True)}
    assert {"deep", "deep/er", "deep/er/notes.txt", *adapter_files()} == set(rows)
    assert rows["deep/er/notes.txt"].last_commit.oid == sha
    assert [row.path for row in alice.list_repo_tree(repo, "deep/er")] == ["deep/er/notes.txt"]
    assert {row.path for row in alice.get_paths_info(repo, ["deep", "README.md", "nothing"])} == {"deep", "README.md"}
    with pytest.raises(EntryNotFoundError):
        list(alice.list_repo_tree(repo, "nowhere"))
    with pytest.raises(RevisionNotFoundError):
        alice.model_info(repo, revision="nowhere")
    with pytest.raises(EntryNotFoundError):
        alice.hf_hub_download(repo, "nothing.json")


def test_changes_by_commit(api: Api) -> None:
    alice, repo = api("alice"), "wire-alice/changed"
    first = publish(alice, repo, {**adapter_files(), "f/a.txt": b"1", "f/b.txt": b"2", "empty.txt": b""})
    alice.create_commit(
        repo,
        [
            CommitOperationDelete("f/", is_folder=True),
            CommitOperationCopy("adapter_model.safetensors", "copy.safetensors"),
        ],
        commit_message="Less and more",
        parent_commit=first,
    )
    assert set(alice.list_repo_files(repo)) == {*adapter_files(), "copy.safetensors", "empty.txt"}
    with pytest.raises(HfHubHTTPError, match="412"):
        alice.create_commit(repo, [CommitOperationAdd("x.txt", b"x")], commit_message="Stale", parent_commit=first)
    with pytest.raises(EntryNotFoundError, match="doesn't exist"):
        alice.delete_file("nothing.txt", repo)
    with pytest.raises(ValueError, match="not valid YAML"):
        alice.upload_file(path_or_fileobj=b"---\na: [\n---\n", path_in_repo="README.md", repo_id=repo)
    for path in ("model.bin", "archive.zip"):
        with pytest.raises(HfHubHTTPError, match="422"):
            alice.upload_file(path_or_fileobj=b"x", path_in_repo=path, repo_id=repo)
    assert "x.txt" not in alice.list_repo_files(repo)
    alice.delete_file("empty.txt", repo)
    assert [row.title for row in alice.list_repo_commits(repo)][-1] == "Publish"
    alice.super_squash_history(repo)
    assert len(alice.list_repo_commits(repo)) == 1
    assert set(alice.list_repo_files(repo)) == {*adapter_files(), "copy.safetensors"}


def test_branches_and_tags(api: Api) -> None:
    alice, repo = api("alice"), "wire-alice/branched"
    first = publish(alice, repo)
    alice.create_branch(repo, branch="feature/one")
    alice.create_tag(repo, tag="v1")
    with pytest.raises(HfHubHTTPError, match="409"):
        alice.create_tag(repo, tag="v1")
    alice.create_branch(repo, branch="feature/one", exist_ok=True)
    second = alice.upload_file(path_or_fileobj=b"new", path_in_repo="new.txt", repo_id=repo, revision="feature/one").oid
    refs = alice.list_repo_refs(repo)
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": first, "feature/one": second}
    assert [(ref.name, ref.ref, ref.target_commit) for ref in refs.tags] == [("v1", "refs/tags/v1", first)]
    assert alice.file_exists(repo, "new.txt", revision="feature/one")
    assert alice.file_exists(repo, "new.txt", revision=second[:8])
    assert not alice.file_exists(repo, "new.txt", revision="v1")
    alice.delete_branch(repo, branch="feature/one")
    alice.delete_tag(repo, tag="v1")
    with pytest.raises(HfHubHTTPError):
        alice.delete_branch(repo, branch="main")


def test_change_requests(api: Api, hf: Run, tmp_path: Path) -> None:
    alice, charlie, repo = api("alice"), api("charlie"), "wire-alice/proposed-to"
    first = publish(alice, repo)
    made = charlie.create_commit(
        repo,
        [CommitOperationAdd("idea.txt", b"an idea\n")],
        commit_message="Idea",
        commit_description="Why",
        create_pr=True,
    )
    assert made.pr_revision == "refs/pr/1"
    charlie.upload_file(path_or_fileobj=b"better\n", path_in_repo="idea.txt", repo_id=repo, revision="refs/pr/1")
    assert (
        Path(charlie.hf_hub_download(repo, "idea.txt", revision="refs/pr/1", cache_dir=tmp_path)).read_text()
        == "better\n"
    )
    assert not alice.file_exists(repo, "idea.txt")
    with pytest.raises(HfHubHTTPError, match="403"):
        charlie.merge_pull_request(repo, 1)
    seen = alice.get_discussion_details(repo, 1)
    assert (seen.status, seen.author, seen.is_pull_request, seen.conflicting_files) == (
        "open",
        "wire-charlie",
        True,
        [],
    )
    assert "+better" in seen.diff
    said = alice.comment_discussion(repo, 1, "Thank you")
    alice.edit_discussion_comment(repo, 1, said.id, "Thank you!")
    alice.rename_discussion(repo, 1, "A good idea")
    alice.merge_pull_request(repo, 1)
    merged = alice.get_discussion_details(repo, 1)
    assert (merged.status, merged.title, bool(merged.merge_commit_oid)) == ("merged", "A good idea", True)
    assert alice.file_exists(repo, "idea.txt")
    (tmp_path / "up").mkdir()
    (tmp_path / "up/more.txt").write_text("more")
    hf("upload", repo, str(tmp_path / "up"), ".", "--create-pr")
    second = alice.get_discussion_details(repo, 2)
    assert second.status in ("draft", "open")
    assert alice.file_exists(repo, "more.txt", revision="refs/pr/2")
    alice.change_discussion_status(repo, 2, "closed")
    assert [(row.num, row.status) for row in alice.get_repo_discussions(repo)] == [(2, "closed"), (1, "merged")]
    assert first in [row.commit_id for row in alice.list_repo_commits(repo)]


def test_discussions(api: Api, hf: Run) -> None:
    alice, charlie, repo = api("alice"), api("charlie"), "wire-alice/talked-about"
    publish(alice, repo)
    talk = charlie.create_discussion(repo, "Why?", description="I wonder.")
    pull = charlie.create_pull_request(repo, "An idea")
    assert (talk.is_pull_request, talk.status, talk.git_reference) == (False, "open", None)
    assert (pull.is_pull_request, pull.status, pull.git_reference) == (True, "draft", "refs/pr/2")

    def numbers(**asked: object) -> list[int]:
        return [row.num for row in alice.get_repo_discussions(repo, **asked)]

    assert (numbers(), numbers(discussion_type="discussion"), numbers(discussion_type="pull_request")) == (
        [2, 1],
        [1],
        [2],
    )
    said = alice.comment_discussion(repo, 1, "Because.")
    assert alice.hide_discussion_comment(repo, 1, said.id).hidden
    assert charlie.change_discussion_status(repo, 1, "closed", comment="Thanks").new_status == "closed"
    assert numbers(discussion_type="discussion", discussion_status="open") == []
    hf("discussions", "reopen", repo, "1", "--yes")
    assert numbers(discussion_type="discussion", discussion_status="open") == [1]
    assert [event.type for event in alice.get_discussion_details(repo, 1).events] == [
        "comment", "comment", "status-change", "status-change",
    ]  # fmt: skip
    with pytest.raises(HfHubHTTPError, match="nothing to merge"):
        alice.merge_pull_request(repo, 1)
    alice.update_repo_settings(repo, private=True)
    with pytest.raises(RepositoryNotFoundError):
        charlie.get_discussion_details(repo, 1)


def test_a_refused_proposal_leaves_nothing(api: Api) -> None:
    alice, repo = api("alice"), "wire-alice/no-leftovers"
    publish(alice, repo)
    with pytest.raises(HfHubHTTPError):
        api("charlie").create_commit(
            repo, [CommitOperationAdd("weights.safetensors", b"\xff" * 20)], commit_message="Bad", create_pr=True
        )
    assert list(alice.get_repo_discussions(repo)) == []
    assert alice.list_repo_refs(repo, include_pull_requests=True).pull_requests == []


def test_private_repos_look_absent(api: Api, tmp_path: Path) -> None:
    alice, repo = api("alice"), "wire-acme/hidden"
    publish(alice, repo, private=True)
    assert api("bob").model_info(repo).private
    for name in ("charlie", None):
        stranger = api(name)
        for call in (
            lambda api: api.model_info(repo),
            lambda api: list(api.list_repo_tree(repo)),
            lambda api: api.hf_hub_download(repo, "README.md", cache_dir=tmp_path),
            lambda api: api.list_repo_commits(repo),
            lambda api: api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo),
            lambda api: api.delete_repo(repo),
        ):
            with pytest.raises((RepositoryNotFoundError, HfHubHTTPError)) as caught:
                call(stranger)
            assert caught.value.response.status_code in (401, 404)
        assert repo not in [row.id for row in stranger.list_models(author="wire-acme")]
        assert not stranger.repo_exists(repo)
    assert repo in [row.id for row in api("bob").list_models(author="wire-acme")]
    alice.update_repo_settings(repo, private=False)
    assert api(None).repo_exists(repo)
    with pytest.raises(HfHubHTTPError, match="403"):
        api("charlie").upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo)


def test_repos_are_made_once_moved_and_removed(api: Api) -> None:
    alice = api("alice")
    url = alice.create_repo("wire-alice/made", repo_type="dataset")
    assert (url.repo_id, url.repo_type) == ("wire-alice/made", "dataset")
    assert alice.create_repo("made", repo_type="dataset", exist_ok=True).repo_id == "wire-alice/made"
    with pytest.raises(HfHubHTTPError, match="409"):
        alice.create_repo("wire-alice/MADE", repo_type="dataset")
    with pytest.raises(HfHubHTTPError, match="403"):
        alice.create_repo("wire-charlie/foreign")
    alice.upload_file(
        path_or_fileobj=b'{"a": 1}\n', path_in_repo="train.jsonl", repo_id="wire-alice/made", repo_type="dataset"
    )
    alice.move_repo("wire-alice/made", "wire-acme/moved", repo_type="dataset")
    assert alice.list_repo_files("wire-acme/moved", repo_type="dataset") == ["train.jsonl"]
    alice.delete_repo("wire-acme/moved", repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        alice.delete_repo("wire-acme/moved", repo_type="dataset")
    alice.delete_repo("wire-acme/moved", repo_type="dataset", missing_ok=True)


def test_lists(api: Api) -> None:
    alice = api("alice")
    for number in range(5):
        alice.create_repo(f"wire-bob-list-{number}", exist_ok=True)
    found = list(alice.list_models(search="WIRE-bob-LIST", limit=4, sort="created_at"))
    assert [row.id for row in found] == [f"wire-alice/wire-bob-list-{number}" for number in (4, 3, 2, 1)]
    assert not list(alice.list_models(search="no such thing"))
    publish(alice, "wire-alice/wire-bob-list-0")
    (full,) = alice.list_models(search="wire-bob-list-0", full=True)
    assert {file.rfilename for file in full.siblings} == set(adapter_files())
    assert alice.get_user_overview("wire-alice").num_models >= 5
    assert [row.username for row in alice.list_organization_members("wire-acme")] == ["wire-alice", "wire-bob"]


def test_a_dead_token_is_named_as_such(live_hub: object) -> None:
    with pytest.raises(HfHubHTTPError, match="Invalid"):
        HfApi(endpoint=live_hub.url, token="hf_" + "x" * 34).whoami()


def test_ignored_files_stay_behind(api: Api) -> None:
    alice, repo = api("alice"), "wire-alice/ignoring"
    publish(alice, repo, {".gitignore": b"*.log.txt\nout/\n"})
    adds = [CommitOperationAdd(path, b"x") for path in ("a.log.txt", "out/b.txt", "kept.txt")]
    alice.create_commit(repo, adds, commit_message="Some")
    assert set(alice.list_repo_files(repo)) == {".gitignore", "kept.txt"}


def test_the_state_of_a_training_stays_behind(api: Api, tmp_path: Path) -> None:
    """Trainers push their whole folder; pickles of other names are refused, since who sends them means them."""
    alice, repo = api("alice"), "wire-alice/trained"
    alice.create_repo(repo)
    for name in ("training_args.bin", "rng_state_0.pth", "runs/events.out.tfevents.17.host.1.0", "trainer_state.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    alice.upload_folder(repo_id=repo, folder_path=tmp_path)
    assert alice.list_repo_files(repo) == ["trainer_state.json"]
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(HfHubHTTPError, match="pickled weights"):
        alice.upload_folder(repo_id=repo, folder_path=tmp_path)


def test_an_empty_repo_is_empty_and_not_broken(api: Api, tmp_path: Path) -> None:
    alice, repo = api("alice"), "wire-alice/empty"
    alice.create_repo(repo)
    assert alice.model_info(repo).sha == alice.resolve_revision(repo).resolved == "0" * 40
    assert alice.list_repo_files(repo, revision="0" * 40) == []
    assert list(alice.list_repo_tree(repo)) == alice.list_repo_commits(repo) == []
    with pytest.raises(EntryNotFoundError):
        alice.hf_hub_download(repo, "README.md", cache_dir=tmp_path)
    alice.create_branch(repo, branch="try")
    alice.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo, revision="try", create_pr=False)
    assert alice.list_repo_files(repo, revision="try") == ["x.txt"]
    assert alice.list_repo_files(repo) == []
