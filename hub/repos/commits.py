"""The one door: every artefact, from whichever side, becomes downloadable through `commit`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.activity.record import record
from hub.repos import attributes, cards, changes, gitformat, policy, trees
from hub.repos.attributes import Attributes
from hub.repos.changes import Change, Delete, DeleteFolder, Put, Ready
from hub.repos.models import DEFAULT_BRANCH, ZERO_SHA, Commit, GitObject, Kind, ObjectKind, Ref, Repo
from hub.rights import Verb
from hub.store.models import Blob, BlobState

Published = Callable[[Repo, Commit, Ref], None]
RefRight = Callable[[Actor, Repo, str], bool]
_published: list[Published] = []
_ref_rights: list[RefRight] = []


class Conflict(Exception):
    """The branch has moved since the parent the caller saw; nothing was written."""

    def __init__(self, head: str) -> None:
        super().__init__(f"The branch has moved to {head[:10]}. Fetch it, redo the change on top, and commit again.")
        self.head = head


class BadChange(Exception):
    """The change cannot be applied; nothing was written."""


def register_published(listener: Published) -> None:
    """Tell a higher room of each new commit, inside its transaction: a job row is made with it or not at all."""
    _published.append(listener)


def register_ref_right(may_write: RefRight) -> None:
    """Let a room grant writing to refs of its own (a change request's ref belongs to whoever proposed it)."""
    _ref_rights.append(may_write)


@dataclass
class _Draft:
    """A commit in the making: what will be written, all at once."""

    repo: Repo
    files: dict[str, str]
    objects: dict[str, GitObject] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)

    def add(self, sha: str, kind: str, body: bytes, size: int = 0, blob: Blob | None = None) -> None:
        self.objects[sha] = GitObject(repo=self.repo, sha=sha, kind=kind, data=body, size=size, large=blob)

    def put(self, file: Ready) -> None:
        """Create or replace a file whose bytes are safe."""
        self.files[file.path] = file.sha
        self.add(file.sha, ObjectKind.BLOB, file.body, file.size, file.blob)
        if file.blob:
            self.blobs.add(file.blob.sha256)


def commit(
    *,
    actor: Actor,
    repo: Repo,
    changes_: Sequence[Change],
    message: str,
    branch: str = DEFAULT_BRANCH,
    parent: str | None = None,
    ready: Mapping[str, Ready] | None = None,
) -> Commit:
    """Apply changes to a branch as one new commit, whole or not at all; returns it (or the head if nothing changes).

    `branch` is a branch name or a full ref such as `refs/pr/3`. With `parent` the commit is made only on that head; a
    retry of a commit that went through returns it again. `ready` is what `prepare` made of these changes.
    Raises rights.Denied, policy.Refused, BadChange, Conflict, trees.RevisionNotFound, store StoreError.
    """
    ref_name = full_ref(branch)
    require_right(actor, repo, ref_name)
    if ready is None:
        ready = prepare(repo, ref_name, changes_)
    with transaction.atomic():
        ref = _locked_ref(repo, ref_name)
        head = Commit.objects.get(repo=repo, sha=ref.target) if ref.target != ZERO_SHA else None
        draft = _apply(repo, head, changes_, ready)
        tree = _write_trees(draft)
        if head is not None and head.tree == tree and (parent in (None, head.sha) or parent in head.parents):
            _mend(repo, draft.objects.values())
            return head
        if parent and (head is None or head.sha != parent):
            raise Conflict(head.sha if head else ZERO_SHA)
        return _record_commit(draft, ref, tree, [head.sha] if head else [], actor.account, message)


def prepare(repo: Repo, revision: str, changes_: Sequence[Change]) -> dict[str, Ready]:
    """Check every file, then store the bytes, for a commit on top of a revision.

    For callers who commit within a transaction of their own, which must not wait for bytes. Raises as `commit`.
    """
    return _prepare(changes_, _attributes(repo, revision, changes_))


def begin(*, actor: Actor, repo: Repo) -> None:
    """Give an empty repo a first, empty commit if the actor may: branches and change requests need one to start at."""
    if not repo.head and rights.can(actor, Verb.WRITE, repo):
        commit(actor=actor, repo=repo, changes_=[], message="Initial commit")


def commit_merge(
    *,
    author: Account | None,
    repo: Repo,
    branch: str,
    parents: Sequence[str],
    files: dict[str, str],
    message: str,
    puts: Sequence[Put] = (),
) -> Commit:
    """Record a merge whose files (path → git id, all in this repo already) the review room worked out and allowed.

    `puts` are files with new content on top. The first parent must be the branch's head. Raises Conflict, and what
    `commit` raises for the files put.
    """
    ready = _prepare(puts)
    with transaction.atomic():
        ref = _locked_ref(repo, full_ref(branch))
        if ref.target != parents[0]:
            raise Conflict(ref.target)
        draft = _Draft(repo, dict(files))
        for file in ready.values():
            draft.put(file)
        check_shape(draft.files)
        return _record_commit(draft, ref, _write_trees(draft), list(parents), author, message)


def commit_squash(*, author: Account | None, repo: Repo, branch: str, head: str, message: str) -> Commit:
    """Record one commit without parents that has the files of `head`, which must be the branch's. Raises Conflict."""
    with transaction.atomic():
        ref = _locked_ref(repo, full_ref(branch))
        if ref.target != head:
            raise Conflict(ref.target)
        draft = _Draft(repo, trees.flatten(repo, Commit.objects.get(repo=repo, sha=head).tree))
        return _record_commit(draft, ref, _write_trees(draft), [], author, message)


def adopt(
    *, actor: Actor, repo: Repo, ref: Ref, target: str, made: Sequence[Commit], objects: Iterable[GitObject],
    blobs: set[str],
) -> None:  # fmt: skip
    """Take over commits that were made elsewhere and judged by `hub.repos.pushing`, and move a locked ref to `target`.

    Runs in the caller's transaction, which has seen that the ref may move. `made` are the new commits among them.
    """
    _refer(blobs)
    _write_objects(repo, list(objects))
    Commit.objects.bulk_create(made, ignore_conflicts=True)
    row = Commit.objects.select_related("author").get(repo=repo, sha=target)
    ref.target = target
    ref.save()
    is_main = ref.name == full_ref(DEFAULT_BRANCH)
    if is_main:
        _move_head(_Draft(repo, trees.flatten(repo, row.tree)), row, timezone.now())
    record(actor.account, "push", repo=repo, sha=target, ref=ref.name, commits=len(made), title=row.title)
    if made or is_main or ref.name.startswith("refs/pr/"):  # what was approved there is another commit now
        for listener in _published:
            listener(repo, row, ref)


def full_ref(branch: str) -> str:
    """`main` → `refs/heads/main`; full refs stay."""
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def require_right(actor: Actor, repo: Repo, ref_name: str) -> None:
    """Branches need the right to write; other refs ask the room they belong to first (see `register_ref_right`).

    Raises Denied.
    """
    if any(may_write(actor, repo, ref_name) for may_write in _ref_rights):
        rights.require(actor, rights.Verb.PROPOSE, repo)
    else:
        rights.require(actor, rights.Verb.WRITE, repo)


def _prepare(changes_: Sequence[Change], wishes: Attributes | None = None) -> dict[str, Ready]:
    """Check every file, then store the bytes. Nothing is stored if one file is refused."""
    puts = [change for change in changes_ if isinstance(change, Put)]
    if len(changes_) > settings.LIMITS["commit_files"]:
        raise BadChange(f"A commit may change {settings.LIMITS['commit_files']} files at most; split it.")
    for change in changes_:
        policy.check_path(change.path.rstrip("/"))
    for put in puts:
        policy.check_candidate(changes.candidate(put))
        if put.path.lower() == "readme.md":
            cards.check(put.path, changes.candidate(put))
    return {put.path: changes.make_ready(put, wishes) for put in puts}


def _attributes(repo: Repo, ref_name: str, changes_: Sequence[Change]) -> Attributes | None:
    """What the repo's .gitattributes will say after these changes."""
    puts = [change for change in changes_ if isinstance(change, Put)]
    own = next((put for put in reversed(puts) if put.path == attributes.NAME), None)
    if own is not None:
        return Attributes.parse(changes.candidate(own).read(0, attributes.MAX_BYTES))
    if not puts:
        return None
    try:
        file = trees.get_file(repo, trees.resolve_commit(repo, ref_name), attributes.NAME)
    except (trees.RevisionNotFound, trees.EntryNotFound):
        return None
    return Attributes.parse(file.data)


def _locked_ref(repo: Repo, name: str) -> Ref:
    """The ref's row, locked until the transaction ends. Only the first commit of a repo makes its main branch.

    Raises BadChange for a tag, RevisionNotFound.
    """
    if name.startswith("refs/tags/"):
        raise BadChange("A tag stays where it is; commit to a branch.")
    ref = Ref.objects.select_for_update().filter(repo=repo, name=name).first()
    if ref is not None:
        return ref
    if name != full_ref(DEFAULT_BRANCH):
        raise trees.RevisionNotFound(f"{repo.full_name} has no branch '{name.removeprefix('refs/heads/')[:80]}'.")
    try:
        with transaction.atomic():
            Ref.objects.create(repo=repo, name=name, target=ZERO_SHA)
    except IntegrityError:
        pass
    return Ref.objects.select_for_update().get(repo=repo, name=name)


def _apply(repo: Repo, head: Commit | None, changes_: Iterable[Change], ready: Mapping[str, Ready]) -> _Draft:
    draft = _Draft(repo, trees.flatten(repo, head.tree) if head else {})
    for change in changes_:
        if isinstance(change, Put):
            draft.put(ready[change.path])
        elif isinstance(change, Delete):
            if draft.files.pop(change.path, None) is None:
                raise trees.EntryNotFound(f"A file with this name doesn't exist: {change.path}")
        elif isinstance(change, DeleteFolder):
            _delete_folder(draft.files, change.path.rstrip("/"))
    check_shape(draft.files)
    return draft


def _delete_folder(files: dict[str, str], folder: str) -> None:
    below = [path for path in files if path.startswith(f"{folder}/")]
    if not below:
        raise trees.EntryNotFound(f"A folder with this name doesn't exist: {folder}")
    for path in below:
        del files[path]


def check_shape(files: dict[str, str]) -> None:
    """No twins by case, no file where a folder is, not too many. Raises Refused, BadChange."""
    if len(files) > settings.LIMITS["repo_files"]:
        raise BadChange(f"A repo may hold {settings.LIMITS['repo_files']} files at most.")
    policy.check_twins(files)
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in files:
                raise BadChange(f"'{'/'.join(parts[:depth])}' cannot be a file and a folder at once.")


def _write_trees(draft: _Draft) -> str:
    """Build the tree objects bottom-up; returns the root's id."""
    folders: dict[str, dict[str, gitformat.Entry]] = {"": {}}
    for path, sha in draft.files.items():
        parts = path.split("/")
        for depth in range(len(parts)):
            folders.setdefault("/".join(parts[:depth]), {})
        folders["/".join(parts[:-1])][parts[-1]] = gitformat.Entry(parts[-1], sha, False)
    root = trees.EMPTY_TREE
    for folder in sorted(folders, key=lambda name: (-name.count("/") - bool(name), name)):
        sha, body = gitformat.tree_bytes(folders[folder])
        draft.add(sha, ObjectKind.TREE, body)
        if folder:
            parent, _, name = folder.rpartition("/")
            folders[parent][name] = gitformat.Entry(name, sha, True)
        else:
            root = sha
    return root


def _record_commit(
    draft: _Draft, ref: Ref, tree: str, parents: list[str], author: Account | None, message: str
) -> Commit:
    """Write objects, commit and ref, tell the listeners: all in the caller's transaction."""
    at = timezone.now()
    sha, body = gitformat.commit_bytes(tree=tree, parents=parents, author=_signature(author), message=message, at=at)
    draft.add(sha, ObjectKind.COMMIT, body)
    _refer(draft.blobs)
    _write_objects(draft.repo, list(draft.objects.values()))
    title, _, rest = message.partition("\n")
    row, _made = Commit.objects.get_or_create(
        repo=draft.repo,
        sha=sha,
        defaults={
            "tree": tree,
            "parents": parents,
            "author": author,
            "title": title[:300] or "No message",
            "message": rest.strip(),
            "created_at": at,
        },
    )
    ref.target = sha
    ref.save(update_fields=["target", "updated_at"])
    if ref.name == full_ref(DEFAULT_BRANCH):
        _move_head(draft, row, at)
    record(author, "commit", repo=draft.repo, sha=sha, ref=ref.name, title=row.title)
    for listener in _published:
        listener(draft.repo, row, ref)
    return row


def _write_objects(repo: Repo, objects: Sequence[GitObject]) -> None:
    GitObject.objects.bulk_create(objects, ignore_conflicts=True)
    _mend(repo, objects)


def _mend(repo: Repo, objects: Iterable[GitObject]) -> None:
    """Give rows their large files that were once made of a pointer's text alone: they have the same git id."""
    large = {row.sha: row for row in objects if row.large_id}
    broken = list(GitObject.objects.filter(repo=repo, sha__in=large, large=None)) if large else []
    _refer({str(large[row.sha].large_id) for row in broken})
    for row in broken:
        row.large, row.size = large[row.sha].large, large[row.sha].size
    GitObject.objects.bulk_update(broken, ["large", "size"])


def _move_head(draft: _Draft, commit_: Commit, at: datetime) -> None:
    """What a new head of the default branch changes about the repo itself: time, kind, and the card's claims."""
    repo = draft.repo
    repo.head, repo.updated_at = commit_.sha, at
    if not repo.is_task and repo.kind != Kind.SYSTEM:
        if "adapter_config.json" in draft.files:
            repo.kind = Kind.ADAPTER
        elif "config.json" in draft.files:
            repo.kind = Kind.BASE
    readme = draft.files.get("README.md")
    row = GitObject.objects.filter(repo=repo, sha=readme, large=None).first() if readme else None
    card = bytes(row.data) if row else b""
    repo.card, repo.lead = cards.front_matter(card), cards.lead(card)
    repo.save(update_fields=["head", "updated_at", "kind", "card", "lead"])


def _refer(hashes: set[str]) -> None:
    """Lock the blobs in a fixed order and clear their marks, so that a collection running now lets them live."""
    rows = list(Blob.objects.select_for_update().filter(pk__in=hashes, state=BlobState.PRESENT).order_by("pk"))
    if len(rows) != len(hashes):
        raise BadChange("Some bytes of this commit are no longer stored; upload them again.")
    Blob.objects.filter(pk__in=hashes).update(unreferenced_since=None)


def _signature(author: Account | None) -> str:
    name = author.name if author else "Tessera"
    return f"{name} <{name}@users.tessera>"
