"""Git's addresses without git: rights, nonsense, and limits."""

from __future__ import annotations

import hashlib

from django.test import Client

from hub.repos import gitformat, trees
from hub.repos.models import Commit, GitObject, Repo
from hub.wire.packfile import FLUSH, object_id, packet, write
from tests.people import make_people, make_repo, put
from tests.wire.test_wire_routes import as_

ZERO = "0" * 40


def push(client: Client, body: bytes, repo: str = "alice/x") -> tuple[int, str]:
    answer = client.post(f"/{repo}.git/git-receive-pack", body, content_type="application/x-git-receive-pack-request")
    return answer.status_code, answer.content.decode(errors="replace")


def command(old: str, new: str, ref: str = "refs/heads/main") -> bytes:
    return packet(f"{old} {new} {ref}\0report-status".encode()) + FLUSH


def test_rights(db: None) -> None:
    people = make_people()
    make_repo(people.alice, "x", private=True)
    for base in ("/alice/x", "/alice/x.git", "/datasets/alice/x.git", "/alice/none.git"):
        answer = Client().get(f"{base}/info/refs?service=git-upload-pack")
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="Tessera"')
        for service in ("upload", "receive"):
            assert Client().post(f"{base}/git-{service}-pack", b"0000", content_type="x/y").status_code == 401
            assert as_(people.charlie).get(f"{base}/info/refs?service=git-{service}-pack").status_code == 404
            assert (
                as_(people.charlie).post(f"{base}/git-{service}-pack", b"0000", content_type="x/y").status_code == 404
            )
    assert as_(people.alice, scope="read").get("/alice/x.git/info/refs?service=git-receive-pack").status_code == 403
    assert as_(people.alice).get("/alice/x.git/info/refs").status_code == 403


def test_nonsense_is_refused_in_words(db: None) -> None:
    people = make_people()
    repo = make_repo(people.alice, "x")
    sha = put(people.alice, repo, {"a.txt": b"1"}).sha
    alice = as_(people.alice)
    for body in (b"zzzz", b"0009what", b"0032want " + b"x" * 40, b"000bdeepen x", b"\xff" * 50, packet(b"deepen many")):
        answer = alice.post("/alice/x.git/git-upload-pack", body, content_type="x/y")
        assert answer.status_code == 400 or b"ERR" in b"".join(answer), body
    answer = alice.post(
        "/alice/x.git/git-upload-pack", b"abc", content_type="x/y", headers={"Content-Encoding": "gzip"}
    )
    assert answer.status_code == 400
    assert push(alice, b"nonsense")[0] == 400
    assert push(alice, packet(b"a b c") + FLUSH)[0] == 400
    assert "unpack This is not a pack" in push(alice, command(sha, "1" * 40) + b"garbage")[1]
    assert "did not come with the push" in push(alice, command(sha, "1" * 40) + b"".join(write(0, [])))[1]
    assert "has moved" in push(alice, command("1" * 40, sha) + b"".join(write(0, [])))[1]
    assert "Push to refs/heads/" in push(alice, command(ZERO, sha, "refs/other/x") + b"".join(write(0, [])))[1]
    assert "cannot be the name" in push(alice, command(ZERO, sha, "refs/heads/..") + b"".join(write(0, [])))[1]
    assert Repo.objects.get(pk=repo.pk).head == sha


def test_a_branch_goes_by_its_own_name_only(db: None) -> None:
    people = make_people()
    repo = make_repo(people.alice, "x")
    sha = put(people.alice, repo, {"a.txt": b"1"}).sha
    for ref in ("refs/heads/refs/heads/main", "refs/tags/refs/heads/main"):
        assert f"ng {ref}" in push(as_(people.alice), command(sha, ZERO, ref))[1]
    assert list(repo.refs.values_list("name", "target")) == [("refs/heads/main", sha)]


def tree(*entries: tuple[str, str, str]) -> bytes:
    return b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(sha) for mode, name, sha in entries)


def commit_of(tree_sha: str, parent: str = "", stamp: str = "1700000000 +0000", message: str = "m") -> bytes:
    who = f"A <a@b.c> {stamp}"
    return f"tree {tree_sha}\n{f'parent {parent}' + chr(10) if parent else ''}author {who}\ncommitter {who}\n\n{message}\n".encode()


def test_crafted_objects(db: None) -> None:
    people = make_people()
    repo = make_repo(people.alice, "x")
    alice = as_(people.alice)
    blob = ("blob", b"hello\n")
    blob_id = object_id(*blob)

    def attempt(objects: list[tuple[str, bytes]], tip: bytes) -> str:
        everything = [*objects, ("commit", tip)]
        pack = b"".join(write(len(everything), everything))
        return push(alice, command(ZERO, object_id("commit", tip)) + pack)[1]

    level = tree(("100644", "a.txt", blob_id))
    bomb = [("tree", level)]
    for _depth in range(7):
        level = tree(*((("40000", f"d{number}", object_id("tree", level))) for number in range(10)))
        bomb.append(("tree", level))
    assert "too many folders" in attempt([blob, *bomb], commit_of(object_id("tree", level)))
    for name in ("..", ".git", "a\\b.txt", "con.txt"):
        bad = tree(("100644", name, blob_id))
        assert "ng refs/heads/main" in attempt([blob, ("tree", bad)], commit_of(object_id("tree", bad))), name
    lost = tree(("100644", "a.txt", "2" * 40))
    assert "did not come with the push" in attempt([("tree", lost)], commit_of(object_id("tree", lost)))
    good = tree(("100644", "a.txt", blob_id))
    for tip in (b"not a commit", commit_of("3" * 40), commit_of(object_id("tree", good), stamp="x +0000")):
        assert "ng refs/heads/main" in attempt([blob, ("tree", good)], tip)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5\n"
    large = tree(("100644", "w.safetensors", object_id("blob", pointer)))
    assert "LFS object was not sent" in attempt(
        [("blob", pointer), ("tree", large)], commit_of(object_id("tree", large))
    )
    assert not GitObject.objects.filter(repo=repo).exists()
    far = commit_of(object_id("tree", good), stamp="99999999999 +0000", message="from\x01 the future")
    assert "ok refs/heads/main" in attempt([blob, ("tree", good)], far)
    assert Commit.objects.get(repo=repo).created_at.year < 2200
    assert Client().get("/alice/x/resolve/main/a.txt").content == b"hello\n"


def test_a_pointer_taken_for_a_file_long_ago_must_come_with_its_bytes(db: None) -> None:
    people = make_people()
    repo, alice = make_repo(people.alice, "x"), as_(people.alice)
    data = b"\x89PNG" + b"x" * 60
    pointer = gitformat.pointer(hashlib.sha256(data).hexdigest(), len(data))
    sha = object_id("blob", pointer)
    GitObject.objects.create(repo=repo, sha=sha, kind="blob", data=pointer, size=len(pointer))
    folder = tree(("100644", "a.png", sha))
    tip = commit_of(object_id("tree", folder))
    body = command(ZERO, object_id("commit", tip)) + b"".join(write(2, [("tree", folder), ("commit", tip)]))
    assert "LFS object was not sent" in push(alice, body)[1]
    put(people.alice, make_repo(people.alice, "other"), {"a.png": data})
    assert "ok refs/heads/main" in push(alice, body)[1]
    assert trees.get_file(repo, trees.resolve_commit(repo), "a.png").read() == data
