"""Repositories are real git objects behind one door; a commit is whole or not at all."""

import hashlib
import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest

from hub.accounts.actor import actor_for
from hub.repos import history, lifecycle, trees
from hub.repos.changes import Delete, DeleteFolder, Inline, OnDisk, Put, Stored
from hub.repos.commits import BadChange, Conflict, commit, commit_merge
from hub.repos.models import Commit, GitObject, Kind, Ref, Repo
from hub.repos.policy import Refused
from hub.review import change_requests
from hub.rights import Denied
from hub.store import blobs
from hub.store.collect import unreferenced
from hub.store.models import Blob
from hub.store.verify import verify
from tests.people import People, make_repo, put

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 50


def test_git_itself_accepts_every_object(people: People, tmp_path: Path) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"README.md": b"---\nlicense: mit\n---\nhi", "a/b/c.txt": b"x", "pic.png": PNG})
    head = put(people.alice, repo, {"a/b/c.txt": b"y"})
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for row in GitObject.objects.filter(repo=repo):
        written = subprocess.run(
            ["git", "-C", tmp_path, "hash-object", "-w", "-t", row.kind, "--stdin"],
            input=bytes(row.data), capture_output=True, check=True,
        )  # fmt: skip
        assert written.stdout.decode().strip() == row.sha
    log = subprocess.run(["git", "-C", tmp_path, "log", "--format=%H %an %s", head.sha], capture_output=True, text=True)
    assert log.stdout.splitlines()[0] == f"{head.sha} alice Add a/b/c.txt"
    subprocess.run(["git", "-C", tmp_path, "fsck", "--strict", head.sha], check=True)
    shown = subprocess.run(
        ["git", "-C", tmp_path, "show", f"{head.sha}:pic.png"], capture_output=True, text=True
    ).stdout
    assert shown.startswith("version https://git-lfs.github.com/spec/v1\noid sha256:")


def test_the_head_tells_kind_and_claims(people: People) -> None:
    repo = make_repo(people.alice, "x")
    commit_ = put(people.alice, repo, {"README.md": b"---\nlicense: mit\n---\nhi", "config.json": b"{}"})
    repo.refresh_from_db()
    assert (repo.head, repo.kind, repo.card) == (commit_.sha, Kind.BASE, {"license": "mit"})


def test_a_stale_parent_writes_nothing(people: People) -> None:
    repo = make_repo(people.alice, "x")
    first = put(people.alice, repo, {"a.txt": b"1"})
    second = put(people.alice, repo, {"a.txt": b"2"}, parent=first.sha)
    before = GitObject.objects.filter(repo=repo).count()
    with pytest.raises(Conflict) as caught:
        put(people.alice, repo, {"a.txt": b"3"}, parent=first.sha)
    assert caught.value.head == second.sha
    assert GitObject.objects.filter(repo=repo).count() == before


def test_a_retry_gives_the_same_commit(people: People) -> None:
    repo = make_repo(people.alice, "x")
    first = put(people.alice, repo, {"a.txt": b"1"})
    second = put(people.alice, repo, {"a.txt": b"2"}, parent=first.sha)
    assert put(people.alice, repo, {"a.txt": b"2"}, parent=first.sha) == second
    assert put(people.alice, repo, {"a.txt": b"2"}) == second
    assert Commit.objects.filter(repo=repo).count() == 2


def test_deletes(people: People) -> None:
    repo = make_repo(people.alice, "x")
    actor = actor_for(people.alice)
    put(people.alice, repo, {"a.txt": b"1", "f/b.txt": b"2", "f/g/c.txt": b"3"})
    head = commit(actor=actor, repo=repo, changes_=[Delete("a.txt"), DeleteFolder("f/g/")], message="less")
    assert list(trees.flatten(repo, head.tree)) == ["f/b.txt"]
    with pytest.raises(trees.EntryNotFound, match="A file with this name doesn't exist"):
        commit(actor=actor, repo=repo, changes_=[Delete("a.txt")], message="again")
    empty = commit(actor=actor, repo=repo, changes_=[DeleteFolder("f")], message="nothing left")
    assert trees.flatten(repo, empty.tree) == {}


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("../x.txt", b""), ("/etc/x.txt", b""), ("a/../b.txt", b""), ("a\\b.txt", b""), (".git/config.txt", b""),
        ("a\x00.txt", b""), ("a\u202eb.txt", b""), ("con.txt", b""), ("a/b/c/d/e/f/g/h/i.txt", b""), ("x.txt.", b""),
        ("model.bin", b""), ("m.pkl", b""), ("a.zip", b""), ("run.sh", b""), ("noending", b""),
        ("x.safetensors", b"\x80\x04\x95abc"), ("x.txt", b"PK\x03\x04zipzip"), ("x.png", b"not a png"),
        ("x.json", b'{"a": "\x00"}'), ("README.md", b"---\na: [\n---\n"), ("README.md", b"x" * (1024 * 1024 + 1)),
        ("README.md", b"---\na: &a [x,x]\nb: [*a,*a]\n---\n"), ("adapter_config.json", b"{nonsense"),
        ("adapter_model.safetensors", b"\xff" * 20),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_refused_whole(people: People, path: str, data: bytes) -> None:
    repo = make_repo(people.alice, "x")
    with pytest.raises(Refused) as caught:
        put(people.alice, repo, {"fine.txt": b"fine", path: data})
    assert len(str(caught.value)) > 20
    assert not GitObject.objects.filter(repo=repo).exists()
    assert not Blob.objects.exists()


def test_twins_by_case_and_files_that_are_folders(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"Notes.txt": b"1"})
    with pytest.raises(Refused, match="only in case"):
        put(people.alice, repo, {"notes.txt": b"2"})
    with pytest.raises(BadChange, match="file and a folder"):
        put(people.alice, repo, {"Notes.txt/x.txt": b"2"})


def test_who_may_commit(people: People) -> None:
    repo = make_repo(people.acme, "team", by=people.alice)
    put(people.bob, repo, {"a.txt": b"1"})
    for stranger in (people.charlie, people.mary):
        with pytest.raises(Denied):
            put(stranger, repo, {"a.txt": b"2"})


def test_refs(people: People) -> None:
    repo = make_repo(people.alice, "x")
    first = put(people.alice, repo, {"a.txt": b"1"})
    actor = actor_for(people.alice)
    lifecycle.create_branch(actor=actor, repo=repo, name="feature/one")
    lifecycle.create_tag(actor=actor, repo=repo, name="v1")
    put(people.alice, repo, {"a.txt": b"2"}, branch="feature/one")
    assert trees.resolve_commit(repo, "v1") == trees.resolve_commit(repo, "main") == first
    assert trees.resolve_commit(repo, first.sha[:8]) == first
    assert trees.resolve_commit(repo, "feature/one") != first
    for bad in ("refs/x", "a..b", "-x", "a.lock", "deadbeef"):
        with pytest.raises(BadChange):
            lifecycle.create_branch(actor=actor, repo=repo, name=bad)
    with pytest.raises(lifecycle.Exists):
        lifecycle.create_tag(actor=actor, repo=repo, name="v1")
    with pytest.raises(BadChange):
        lifecycle.delete_branch(actor=actor, repo=repo, name="main")
    with pytest.raises(trees.RevisionNotFound):
        put(people.alice, repo, {"a.txt": b"2"}, branch="nowhere")


def refs(repo: Repo) -> dict[str, str]:
    return dict(Ref.objects.filter(repo=repo).values_list("name", "target"))


@pytest.mark.parametrize("name", ["refs/heads/main", "refs/pr/1", "refs/tags/v1", "heads/../main"])
def test_no_full_ref_passes_for_the_name_of_a_branch_or_tag(people: People, name: str) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"a.txt": b"1"})
    alice = people.actor("alice")
    lifecycle.create_tag(actor=alice, repo=repo, name="v1")
    change_requests.open_change_request(actor=people.actor("bob"), repo=repo, title="t")
    before = refs(repo)
    for remove in (lifecycle.delete_branch, lifecycle.delete_tag):
        with pytest.raises(BadChange):
            remove(actor=alice, repo=repo, name=name)
    assert refs(repo) == before and len(before) == 3


def test_a_tag_stays_where_it_is(people: People) -> None:
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"a.txt": b"1"})
    alice = people.actor("alice")
    lifecycle.create_tag(actor=alice, repo=repo, name="v1")
    before = refs(repo)
    with pytest.raises(BadChange, match="tag stays where it is"):
        put(people.alice, repo, {"a.txt": b"2"}, branch="refs/tags/v1")
    with pytest.raises(trees.RevisionNotFound, match="no branch"):
        history.squash(actor=alice, repo=repo, branch="refs/tags/v1", message="Forget")
    with pytest.raises(trees.RevisionNotFound, match="no branch"):
        change_requests.open_change_request(actor=alice, repo=repo, title="t", target="refs/tags/v1")
    assert refs(repo) == before


def test_equal_bytes_are_stored_once_and_verified(people: People) -> None:
    for owner in (people.alice, people.bob):
        put(owner, make_repo(owner, "x"), {"pic.png": PNG})
    assert Blob.objects.count() == 1
    report = verify(hashes=True)
    assert report.checked == 1
    assert not (report.missing or report.wrong_hash)


def test_a_small_file_sent_as_a_blob_is_readable_again(people: People) -> None:
    repo = make_repo(people.alice, "x")
    head = put(people.alice, repo, {"pic.png": PNG, "n.txt": b"hello"})
    files = trees.list_files(repo, head)
    assert files["pic.png"].read() == PNG
    assert b"".join(files["pic.png"].stream(3, 9)) == PNG[3:9]
    assert files["n.txt"].read() == b"hello"
    assert files["n.txt"].blob is None
    assert Put("n.txt", Inline(b"hello")).path == "n.txt"


def test_a_safetensors_whose_header_is_640_bytes_long_is_no_pickle(people: People) -> None:
    """Its first two bytes are those of a pickle: the header's length, little-endian, is 0x280."""
    repo = make_repo(people.alice, "x")
    text = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(640)
    whole = len(text).to_bytes(8, "little") + text + bytes(4)
    assert whole[:2] == b"\x80\x02"
    put(people.alice, repo, {"statistics/fisher.safetensors": whole})
    with pytest.raises(Refused, match="pickle"):
        put(people.alice, repo, {"weights.safetensors": b"\x80\x02" + whole[9:]})


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256(PNG).hexdigest()}\nsize {len(PNG)}\n"


@pytest.mark.parametrize("how", ["inline", "on disk", "stored", "by its attributes", "merged"])
def test_a_pointer_is_no_file_however_it_comes(people: People, tmp_path: Path, how: str) -> None:
    repo, text = make_repo(people.alice, "x"), POINTER.encode()
    put(people.alice, repo, {".gitattributes": b"*.txt filter=lfs\n"} if how == "by its attributes" else {"a.md": b"a"})
    (tmp_path / "body").write_bytes(text)
    contents = {"on disk": OnDisk(tmp_path / "body"), "stored": Stored(blobs.store_bytes(text))}
    wanted = Put("pic.txt", contents.get(how, Inline(text)))

    def send() -> Commit:
        if how != "merged":
            return commit(actor=actor_for(people.alice), repo=repo, changes_=[wanted], message="m")
        head = trees.resolve_commit(repo)
        return commit_merge(
            author=None, repo=repo, branch="main", parents=[head.sha], files=trees.flatten(repo, head.tree),
            message="m", puts=[wanted],
        )  # fmt: skip

    with pytest.raises(Refused, match="its LFS object was not sent"):
        send()


@pytest.mark.parametrize("path", ["pic.png", "other.png"])
def test_a_pointer_that_was_taken_for_a_file_becomes_it_when_it_comes(people: People, path: str) -> None:
    """Older hubs let it in. Sent to the path that has its id already, it changes no tree."""
    repo = make_repo(people.alice, "x")
    put(people.alice, repo, {"pic.png": PNG})
    GitObject.objects.filter(repo=repo).exclude(large=None).update(large=None, size=len(POINTER))
    head = put(people.alice, repo, {path: PNG})
    file = trees.get_file(repo, head, path)
    assert (file.size, file.read()) == (len(PNG), PNG)
    assert not unreferenced().exists()
    assert not Blob.objects.exclude(unreferenced_since=None).exists()


def test_a_page_of_history_reads_the_messages_of_its_own_commits_alone(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repo(people.alice, "x")
    made = [put(people.alice, repo, {"a.txt": str(number).encode()}) for number in range(12)]
    read: list[str] = []
    whole = Commit.from_db

    def counted(db: str, names: Collection[str], values: Collection[object]) -> Commit:
        row = whole(db, names, values)
        read.append(row.sha)
        return row

    monkeypatch.setattr(Commit, "from_db", counted)
    assert trees.log(repo, made[-1], limit=3, skip=2) == made[-3:-6:-1]
    assert len(read) == 3
    assert trees.log(repo, made[1], limit=50) == [made[1], made[0]]
