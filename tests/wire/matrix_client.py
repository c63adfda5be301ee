"""Run as a process of its own with one version of the client on its path: publish, look, fetch, change, propose, err."""

import os
import random
import sys
from pathlib import Path

import huggingface_hub
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    snapshot_download,
)
from huggingface_hub.utils import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

version, repo, work, count = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
assert huggingface_hub.__version__ == version
api, me = HfApi(), repo.partition("/")[0]
assert api.whoami()["name"] == me


def fails(error, call, *args, **more):
    try:
        call(*args, **more)
    except error as seen:
        return str(seen)
    raise AssertionError(f"{call.__name__}: no {error}")


# every kind of content, below and above what travels inside a commit, and many files
chance = random.Random(repo)
folder = work / "files"
(folder / "many/deep").mkdir(parents=True)
half = b"".join(chance.randbytes(1) + b"\x3f" for _ in range(50_000))  # bfloat16 near one: the high byte hardly changes
contents = {
    "random.model": chance.randbytes(1_600_000), "zeros.model": bytes(1_200_000), "text.txt": b"some words\n" * 110_000,
    "float32.model": b"".join(chance.randbytes(2) + b"\x80\x3f" for _ in range(280_000)), "bf16.model": half * 11,
    "ten.model": chance.randbytes(10), "small.txt": b"0123456789", "empty.txt": b"",
    "README.md": b"---\nlicense: mit\ntags: [matrix]\n---\nA card.\n",
}  # fmt: skip
contents |= {f"many/{'deep/' if number % 2 else ''}{number}.txt": f"{number}\n".encode() for number in range(count)}
for path, data in contents.items():
    (folder / path).write_bytes(data)
api.create_repo(repo, private=True, exist_ok=True)
assert api.create_repo(repo, private=True, exist_ok=True).repo_id == repo
first = api.upload_folder(repo_id=repo, folder_path=folder).oid
assert api.upload_folder(repo_id=repo, folder_path=folder).oid == first


def check(where):
    found = {
        str(path.relative_to(where)): path
        for path in Path(where).rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }
    assert set(found) == set(contents), set(found) ^ set(contents)
    for path, data in contents.items():
        assert found[path].read_bytes() == data, path


check(snapshot_download(repo, cache_dir=work / "one"))
info = api.model_info(repo.upper().replace(me.upper(), me), files_metadata=True)
assert (info.id, info.private, info.sha) == (repo, True, api.list_repo_refs(repo).branches[0].target_commit)
assert {file.rfilename: file.size for file in info.siblings} == {path: len(data) for path, data in contents.items()}

# a few bytes of a large file change; a file goes, a folder goes, one is copied
edited = bytearray(contents["random.model"])
edited[1_000_000:1_000_010] = b"ten bytes!"
contents["random.model"] = bytes(edited)
(folder / "random.model").write_bytes(edited)
api.upload_file(path_or_fileobj=folder / "random.model", path_in_repo="random.model", repo_id=repo)
api.create_commit(repo, [CommitOperationDelete("small.txt"), CommitOperationDelete("many/", is_folder=True),
                         CommitOperationCopy("bf16.model", "copy.model"),
                         CommitOperationAdd("stream.model", (folder / "zeros.model").open("rb"))], commit_message="Less")  # fmt: skip
contents = {path: data for path, data in contents.items() if path != "small.txt" and not path.startswith("many/")}
contents |= {"copy.model": contents["bf16.model"], "stream.model": contents["zeros.model"]}
check(snapshot_download(repo, cache_dir=work / "two"))
assert len(api.list_repo_commits(repo)) >= 3
assert repo in [row.id for row in api.list_models(author=me, full=True)]

# proposed, seen by its ref, merged
pull = api.upload_file(path_or_fileobj=b"idea", path_in_repo="idea.txt", repo_id=repo, create_pr=True)
assert pull.pr_num == 1
api.upload_file(path_or_fileobj=b"better", path_in_repo="idea.txt", repo_id=repo, revision="refs/pr/1")
for revision in ("refs/pr/1", api.list_repo_refs(repo, include_pull_requests=True).pull_requests[0].target_commit):
    back = api.hf_hub_download(repo, "idea.txt", revision=revision, cache_dir=work / "three")
    assert Path(back).read_text() == "better"
    assert "idea.txt" in api.list_repo_files(repo, revision=revision)
    assert api.get_paths_info(repo, "idea.txt", revision=revision)[0].size == 6
assert not api.file_exists(repo, "idea.txt")
api.comment_discussion(repo, 1, "Good")
api.merge_pull_request(repo, 1)
assert api.get_discussion_details(repo, 1).status == "merged"
assert api.file_exists(repo, "idea.txt")

# branches, tags, files by name and by range
api.create_branch(repo, branch="a/b")
api.create_tag(repo, tag="v1", revision="a/b")
with HfFileSystem().open(f"{repo}@a%2Fb/random.model", "rb", block_size=100_000) as file:
    file.seek(999_999)
    assert file.read(12) == contents["random.model"][999_999:1_000_011]
api.delete_branch(repo, branch="a/b")

# what goes wrong, in the client's own terms
fails(EntryNotFoundError, api.hf_hub_download, repo, "no.txt")
fails(RevisionNotFoundError, api.model_info, repo, revision="nowhere")
fails(RepositoryNotFoundError, api.model_info, f"{me}/nothing")
fails(RepositoryNotFoundError, HfApi(token=False).model_info, repo)
assert "412" in fails(
    HfHubHTTPError,
    api.create_commit,
    repo,
    [CommitOperationAdd("x.txt", b"x")],
    commit_message="Late",
    parent_commit=first,
)
assert "pickled" in fails(HfHubHTTPError, api.upload_file, path_or_fileobj=b"x", path_in_repo="model.bin", repo_id=repo)
fails(ValueError, api.upload_file, path_or_fileobj=b"---\na: [\n---\n", path_in_repo="README.md", repo_id=repo)
api.move_repo(repo, f"{repo}-moved")
assert api.model_info(repo).id == f"{repo}-moved"
assert Path(api.hf_hub_download(repo, "text.txt", cache_dir=work / "four")).read_bytes() == contents["text.txt"]
api.delete_repo(f"{repo}-moved")
print("fine", os.environ.get("HF_HUB_DISABLE_XET", "with Xet"))
