"""Commits made elsewhere and pushed: every one of them keeps its id, and is held to the rules of all others.

A push is refused as a whole, ref by ref, if one commit in it has a file that no other door would let in. Large files
come by LFS first; here only their pointers arrive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from dulwich.errors import ObjectFormatException
from dulwich.objects import Commit as GitCommit
from dulwich.objects import Tree

from hub import rights
from hub.accounts.actor import Actor
from hub.repos import cards, changes, commits, gitformat, lifecycle, policy, trees, uploading
from hub.repos.commits import BadChange, Conflict
from hub.repos.models import DEFAULT_BRANCH, ZERO_SHA, Commit, GitObject, ObjectKind, Ref, Repo
from hub.repos.policy import Candidate, Refused
from hub.rights import Verb
from hub.store.models import Blob

MAX_COMMITS, MAX_VISITS = 1000, 100_000
MAIN = f"refs/heads/{DEFAULT_BRANCH}"
Objects = dict[str, tuple[str, bytes]]


@dataclass
class _Push:
    """What has been learnt of a push so far. `rows` are the objects to write, by id."""

    actor: Actor
    repo: Repo
    objects: Objects
    rows: dict[str, GitObject] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)
    checked: set[tuple[str, str]] = field(default_factory=set)
    """(path, id) of files that are fine: from a commit that is here already, or looked at in this push."""
    visits: int = 0
    """Folders walked so far; trees that repeat themselves could make it endless."""


def update_ref(*, actor: Actor, repo: Repo, ref: str, old: str, new: str, objects: Objects) -> None:
    """Move, make or remove a ref as a push asks. `objects`: what came with it, id → (kind, body).

    The main branch only goes forward.
    Raises Denied, Refused, BadChange, Conflict, RevisionNotFound, StoreError.
    """
    if not ref.startswith(("refs/heads/", "refs/tags/", "refs/pr/")):
        raise BadChange("Push to refs/heads/, refs/tags/, or the refs/pr/N of a change request.")
    if new == ZERO_SHA:
        _remove(actor, repo, ref)
        return
    if objects.get(new, ("", b""))[0] == "tag":
        raise BadChange("Annotated tags are not kept here; push a plain one (git tag without -a, -s or -m).")
    commits.require_right(actor, repo, ref)
    new_commits = _new_commits(repo, new, objects)
    push = _Push(actor, repo, objects)
    _remember_known(push, new_commits)
    for sha, commit in new_commits.items():
        _check_commit(push, sha, commit)
    with transaction.atomic():
        row = _ref_to_move(actor, repo, ref, old)
        if ref == MAIN and old != ZERO_SHA and not _goes_forward(repo, old, new, new_commits):
            raise BadChange("The main branch only goes forward: fetch it, rebase or merge, and push again.")
        made = [_record(push, sha, commit) for sha, commit in new_commits.items()]
        commits.adopt(
            actor=actor, repo=repo, ref=row, target=new, made=made, objects=push.rows.values(), blobs=push.blobs
        )


def _remove(actor: Actor, repo: Repo, ref: str) -> None:
    if ref.startswith("refs/heads/"):
        lifecycle.delete_branch(actor=actor, repo=repo, name=ref.removeprefix("refs/heads/"))
    elif ref.startswith("refs/tags/"):
        lifecycle.delete_tag(actor=actor, repo=repo, name=ref.removeprefix("refs/tags/"))
    else:
        raise BadChange("A change request is closed, not deleted.")


def _ref_to_move(actor: Actor, repo: Repo, ref: str, old: str) -> Ref:
    """The ref, locked, still where the pusher saw it; made if it is new. Raises Conflict, BadChange."""
    row = Ref.objects.select_for_update().filter(repo=repo, name=ref).first()
    now = row.target if row else ZERO_SHA
    if now != old:
        raise Conflict(now)
    if row is None or now == ZERO_SHA:
        if ref.startswith("refs/pr/"):
            raise BadChange("There is no such change request; open one first, then push to its ref.")
        if ref != MAIN:
            rights.require(actor, Verb.WRITE, repo)
        lifecycle.check_ref_name(ref.split("/", 2)[2])
        return row or Ref(repo=repo, name=ref, target=ZERO_SHA)
    if ref.startswith("refs/tags/"):
        raise BadChange("A tag stays where it is; delete it first.")
    return row


def _goes_forward(repo: Repo, old: str, new: str, made: dict[str, GitCommit]) -> bool:
    """Is the old commit among the ancestors of the new one?"""
    parents = dict(Commit.objects.filter(repo=repo).values_list("sha", "parents"))
    parents |= {sha: [parent.decode() for parent in commit.parents] for sha, commit in made.items()}
    seen, todo = set[str](), [new]
    while todo:
        sha = todo.pop()
        if sha == old:
            return True
        if sha not in seen:
            seen.add(sha)
            todo += parents.get(sha, [])
    return False


def _new_commits(repo: Repo, tip: str, objects: Objects) -> dict[str, GitCommit]:
    """Commits of the push that are not here yet, parents first. Raises BadChange."""
    known = set(Commit.objects.filter(repo=repo).values_list("sha", flat=True))
    found: dict[str, GitCommit] = {}
    order: list[str] = []
    todo = [(tip, False)]
    while todo:
        sha, visited = todo.pop()
        if visited:
            order.append(sha)
            continue
        if sha in known or sha in found:
            continue
        kind, data = objects.get(sha, ("", b""))
        if kind != "commit":
            raise BadChange(
                f"Commit {sha[:10]} did not come with the push; is the clone shallow? Run git fetch --unshallow."
            )
        try:
            commit = GitCommit.from_string(data)
            commit.check()
            [parent.decode() for parent in commit.parents]
        except (ObjectFormatException, ValueError, AssertionError) as error:
            raise BadChange(f"Commit {sha[:10]} is malformed.") from error
        found[sha] = commit
        if len(found) > MAX_COMMITS:
            raise BadChange(f"A push may bring {MAX_COMMITS} commits at most.")
        todo += [(sha, True), *((parent.decode(), False) for parent in commit.parents)]
    return {sha: found[sha] for sha in order}


def _remember_known(push: _Push, new: dict[str, GitCommit]) -> None:
    """Files of the commits the push builds on need no second look."""
    parents = {parent.decode() for commit in new.values() for parent in commit.parents} - new.keys()
    for tree in Commit.objects.filter(repo=push.repo, sha__in=parents).values_list("tree", flat=True):
        push.checked |= set(trees.flatten(push.repo, tree).items())


def _check_commit(push: _Push, sha: str, commit: GitCommit) -> None:
    """Take a commit's tree apart and judge each file that is new in it. Raises Refused, BadChange, StoreError."""
    files: dict[str, str] = {}
    _walk(push, commit.tree.decode(), "", files)
    commits.check_shape(files)
    for path, blob in files.items():
        if (path, blob) not in push.checked:
            _check_file(push, path, blob)
            push.checked.add((path, blob))
    push.rows[sha] = GitObject(repo=push.repo, sha=sha, kind=ObjectKind.COMMIT, data=commit.as_raw_string(), size=0)


def _walk(push: _Push, sha: str, prefix: str, files: dict[str, str]) -> None:
    kind, data = push.objects.get(sha, ("", b""))
    push.visits += 1
    if push.visits > MAX_VISITS or len(files) > settings.LIMITS["repo_files"]:
        raise BadChange("These commits have too many folders and files; push fewer at a time.")
    if not kind:
        for path, blob in trees.flatten(push.repo, _known_tree(push, sha)).items():
            files[prefix + path] = blob
        return
    try:
        tree = Tree.from_string(data)
        tree.check()
        entries = [(entry.path.decode(), entry.mode, entry.sha.decode()) for entry in tree.iteritems()]
    except (ObjectFormatException, ValueError, AssertionError) as error:
        raise BadChange(
            f"A folder of the push ({prefix or 'the top'}) is malformed or has names that are not UTF-8."
        ) from error
    push.rows[sha] = GitObject(repo=push.repo, sha=sha, kind=ObjectKind.TREE, data=data, size=0)
    for name, mode, child in entries:
        path = prefix + name
        if mode == gitformat.TREE_MODE:
            if path.count("/") > policy.MAX_DEPTH:
                raise Refused(path[:200], "the folders are nested too deeply.", code="path")
            _walk(push, child, f"{path}/", files)
        elif mode == gitformat.FILE_MODE:
            files[path] = child
        else:
            raise Refused(path[:200], _MODES.get(mode, "only plain files are kept here."), code="kind")


_MODES = {
    0o100755: "programs are not kept here; git update-index --chmod=-x takes the executable bit away.",
    0o120000: "symbolic links are not kept here; commit the file itself.",
    0o160000: "submodules are not kept here.",
}


def _known_tree(push: _Push, sha: str) -> str:
    if sha != trees.EMPTY_TREE and not GitObject.objects.filter(repo=push.repo, sha=sha, kind="tree").exists():
        raise BadChange(f"Folder {sha[:10]} did not come with the push.")
    return sha


def _check_file(push: _Push, path: str, sha: str) -> None:
    kind, data = push.objects.get(sha, ("", b""))
    row = (
        None if kind else GitObject.objects.select_related("large").filter(repo=push.repo, sha=sha, kind="blob").first()
    )
    if row is None and kind != "blob":
        raise BadChange(f"The content of {path[:200]} did not come with the push.")
    blob = row.large if row else None
    if blob is None:
        data = bytes(row.data) if row else data
        blob = _blob_of(push, path, data)
        size = blob.size if blob else len(data)
        push.rows[sha] = GitObject(repo=push.repo, sha=sha, kind=ObjectKind.BLOB, data=data, size=size, large=blob)
        if blob:
            push.blobs.add(blob.sha256)
    if blob is None and changes.is_large(path, len(data)):
        raise Refused(
            path,
            f"such files come by LFS: git lfs track '{'*' + PurePosixPath(path).suffix}', add .gitattributes, and "
            "commit the file again (git lfs migrate import mends commits that have it already).",
            code="size",
        )
    candidate = _candidate(path, data, blob)
    policy.check_candidate(candidate)
    if path.lower() == "readme.md":
        cards.check(path, candidate)


def _blob_of(push: _Push, path: str, data: bytes) -> Blob | None:
    """The blob that an LFS pointer stands for. Raises Refused if its bytes were not sent."""
    named = gitformat.parse_pointer(data)
    if named is None:
        return None
    blob = uploading.usable(push.actor, push.repo, named[0])
    if blob is None or blob.size != named[1]:
        raise Refused(path, "its LFS object was not sent. Run git lfs push --all, then push again.", code="kind")
    return blob


def _candidate(path: str, data: bytes, blob: Blob | None) -> Candidate:
    if blob is None:
        return Candidate(path, len(data), lambda start, end: data[start:end])
    return changes.candidate(changes.Put(path, changes.Stored(blob)))


def _record(push: _Push, sha: str, commit: GitCommit) -> Commit:
    """The row of a pushed commit. Its author here is who pushed it: names in commits can be anybody's."""
    title, _, rest = commit.message.decode(errors="replace").replace("\x00", "").partition("\n")
    made = datetime.fromtimestamp(min(commit.commit_time, 1 << 33), UTC)
    return Commit(
        repo=push.repo, sha=sha, tree=commit.tree.decode(), parents=[parent.decode() for parent in commit.parents],
        author=push.actor.account, title=title[:300] or "No message", message=rest.strip(),
        created_at=min(made, timezone.now()),
    )  # fmt: skip
