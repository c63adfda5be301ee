"""Commits of an update alone: somebody sends a small adapter, tensors or values; the hub makes the checkpoint of them.

What was sent is judged first, then kept in the folder `update/` beside the files it makes; those are stored as what
follows from the base revision and the update, and served byte for byte the same every time. `update/update.json` says
what was made from what. Everything enters by the one door, in a job.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings

from adapters.catalog import bases, decoding, explaining, local
from adapters.catalog.predicting import UPDATE_FOLDER
from adapters.encoding import Decoder, FileSources
from adapters.encoding.materialise import materialise
from adapters.encoding.updates import OTHER, Update, read_update
from adapters.formats import strict_json
from adapters.formats.errors import FormatError
from adapters.formats.safetensors_header import Header
from hub import rights
from hub.accounts.actor import Actor
from hub.jobs.models import Job
from hub.jobs.queue import enqueue
from hub.jobs.running import JobFailed, Running
from hub.repos import changes, commits, policy, trees
from hub.repos.changes import Change, Delete, Inline, Put, Stored
from hub.repos.commits import BadChange, Conflict
from hub.repos.models import DEFAULT_BRANCH, Commit, Ref, Repo
from hub.repos.trees import File
from hub.review import change_requests
from hub.rights import Denied, Verb
from hub.store import blobs, predicted
from hub.store.models import Blob, BlobState

KIND = "adapters.make_from_update"
NOTE = "update.json"
FORMAT = "tessera-update-1"
WORDS = {
    "lora": "a LoRA adapter", "ia3": "an IA3 adapter", "sparse": "values at positions", "tensors": "changed tensors",
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What somebody asks for: a commit that an update makes on a base revision."""

    base: str
    message: str
    puts: Sequence[Put]
    branch: str = DEFAULT_BRANCH
    description: str = ""
    change_request: bool = False


@dataclass(frozen=True)
class Made:
    """What a revision shows of the update it was made by."""

    kind: str
    words: str
    base: str
    sent: tuple[File, ...]
    makes: tuple[File, ...]

    @property
    def sent_bytes(self) -> int:
        """Bytes that were sent."""
        return sum(file.size for file in self.sent)

    @property
    def made_bytes(self) -> int:
        """Bytes of the files they make."""
        return sum(file.size for file in self.makes)


def ask(actor: Actor, repo: Repo, wanted: Wanted) -> Job:
    """Judge an update and queue the making of its commit. Nothing is stored of one that does not fit.

    Raises Denied, RevisionNotFound, Conflict (the branch has moved), Refused, BadChange, WrongBytes, StoreError.
    """
    if wanted.change_request:
        rights.require(actor, Verb.PROPOSE, repo)
    else:
        commits.require_right(actor, repo, commits.full_ref(wanted.branch))
    base = _base(repo, wanted)
    files = {put.path.rpartition("/")[2]: put for put in wanted.puts}
    if len(files) != len(wanted.puts) or not files:
        raise BadChange("Send the files of one update, each once.")
    if sum(changes.candidate(put).size for put in wanted.puts) > settings.LIMITS["commit_bytes"]:
        most = settings.LIMITS["commit_bytes"]
        raise BadChange(f"An update may have {most:,} bytes; a larger one is better uploaded as the whole checkpoint.")
    for put in wanted.puts:
        policy.check_candidate(changes.candidate(put))
    with tempfile.TemporaryDirectory(prefix="tessera-update-") as folder:
        try:
            _read(_written(files, Path(folder)), _headers(repo, base))
        except FormatError as error:
            raise BadChange(str(error)) from error
    stored = {name: _stored(put).sha256 for name, put in files.items()}
    return enqueue(
        KIND,
        title=f"Make {repo.full_name} from an update of {base.short}",
        arguments={
            "repo": str(repo.pk), "base": base.sha, "files": stored, "branch": wanted.branch,
            "message": wanted.message[:300], "description": wanted.description, "propose": wanted.change_request,
        },
        owner=actor.account,
        repo=repo,
    )  # fmt: skip


def run(running: Running) -> dict[str, Any]:
    """The job: make the files, keep them as what follows from base and update, and commit both."""
    wanted = running.arguments
    if running.job.result.get("commit"):
        return dict(running.job.result)  # the commit was made before this worker's predecessor was lost
    repo = Repo.objects.select_related("owner").get(pk=wanted["repo"])
    base = trees.resolve_commit(repo, wanted["base"])
    sent = {name: Blob.objects.get(pk=sha256) for name, sha256 in wanted["files"].items()}
    headers = _headers(repo, base)
    try:
        update = _read({name: local.cached(blob) for name, blob in sent.items()}, headers)
        made = _make(running, repo, base, headers, update, sent[update.weights])
    except FormatError as error:
        raise JobFailed(str(error)) from error
    note = {
        "format": FORMAT, "kind": update.kind, "base": base.sha, "tensors": sorted(update.ways),
        "makes": {path: blob.sha256 for path, blob in made.items()},
    }  # fmt: skip
    puts: list[Change] = [Put(path, Stored(blob)) for path, blob in made.items()]
    names = {name: OTHER if name == update.weights and update.kind in ("sparse", "tensors") else name for name in sent}
    puts += [Put(f"{UPDATE_FOLDER}/{names[name]}", Stored(blob)) for name, blob in sent.items()]
    puts.append(Put(f"{UPDATE_FOLDER}/{NOTE}", Inline(json.dumps(note, indent=2).encode() + b"\n")))
    written = {put.path for put in puts}
    old = [path for path in trees.flatten(repo, base.tree) if path.startswith(f"{UPDATE_FOLDER}/")]
    puts += [Delete(path) for path in old if path not in written]
    try:
        return _commit(running, repo, base, puts)
    except (Conflict, Denied, BadChange, policy.Refused, trees.RevisionNotFound) as error:
        raise JobFailed(str(error)) from error


def made_by(repo: Repo, commit: Commit) -> Made | None:
    """The update a revision's weights were made by, while they still are what it made; else None."""
    paths = trees.flatten(repo, commit.tree)
    note = paths.get(f"{UPDATE_FOLDER}/{NOTE}")
    if note is None:
        return None
    files = trees.load_files(repo, {path: sha for path, sha in paths.items() if _concerns(path)})
    try:
        read = strict_json.loads(files[f"{UPDATE_FOLDER}/{NOTE}"].read(), what="The note", max_bytes=8 << 20)
        makes, kind, base = read["makes"], read["kind"], str(read["base"])
        held = {path: files[path].blob for path in makes}
        fits = all(blob is not None and blob.sha256 == makes[path] for path, blob in held.items())
        fits = fits and read["format"] == FORMAT and kind in WORDS
    except (FormatError, KeyError, TypeError, AttributeError):
        return None
    if not fits or not makes:
        return None
    sent = [file for path, file in files.items() if path.startswith(f"{UPDATE_FOLDER}/") and not path.endswith(NOTE)]
    return Made(kind, WORDS[kind], base, tuple(sent), tuple(files[path] for path in makes))


def _concerns(path: str) -> bool:
    return path.startswith(f"{UPDATE_FOLDER}/") or path.endswith(local.WEIGHTS)


def _base(repo: Repo, wanted: Wanted) -> Commit:
    """The base revision; what is committed to a branch directly must be its head."""
    base = trees.resolve_commit(repo, wanted.base)
    ref = Ref.objects.filter(repo=repo, name=commits.full_ref(wanted.branch)).first()
    if ref is None:
        raise trees.RevisionNotFound(f"{repo.full_name} has no branch '{wanted.branch[:80]}'.")
    if not wanted.change_request and ref.target != base.sha:
        raise Conflict(ref.target)
    top = [path for path in trees.flatten(repo, base.tree) if "/" not in path]
    if "adapter_config.json" in top or not any(path.endswith(local.WEIGHTS) for path in top):
        raise BadChange(f"{repo.full_name} has no checkpoint at {base.short} that an update could change.")
    return base


def _headers(repo: Repo, base: Commit) -> dict[str, Header]:
    try:
        return bases.read_headers(repo, base)
    except FormatError as error:
        raise BadChange(f"The base's weights cannot be read: {error}") from error


def _read(files: dict[str, Path], headers: dict[str, Header]) -> Update:
    return read_update(files, list(headers.values()))


def _written(files: dict[str, Put], folder: Path) -> dict[str, Path]:
    paths = {}
    for number, (name, put) in enumerate(files.items()):
        candidate, path = changes.candidate(put), folder / str(number)
        with path.open("wb") as out:
            for start in range(0, candidate.size, 8 << 20):
                out.write(candidate.read(start, min(start + (8 << 20), candidate.size)))
        paths[name] = path
    return paths


def _stored(put: Put) -> Blob:
    content = put.content
    if isinstance(content, Stored):
        return content.blob
    return blobs.store_bytes(content.data) if isinstance(content, Inline) else blobs.store_file(content.file)


def _make(
    running: Running, repo: Repo, base: Commit, headers: dict[str, Header], update: Update, sent: Blob
) -> dict[str, Blob]:
    """Path → blob of each file of the base that the update changes."""
    files = trees.list_files(repo, base)
    sides = explaining.Sides(sent, "", [blob for path in headers if (blob := files[path].blob)] + [sent])
    paths, made, done = sides.paths(), {}, 0
    sizes = [path.stat().st_size for path in paths]
    touched = {path for path, header in headers.items() if update.ways.keys() & header.tensors.keys()}
    changed = [(number, path) for number, path in enumerate(headers) if path in touched]
    total = 2 * sum(sizes[number] for number, _path in changed)
    for number, path in changed:
        with FileSources(paths) as sources:
            ways = {name: way for name, way in update.ways.items() if name in headers[path].tensors}
            recipe, sha256 = materialise(
                ways, number, headers[path].data_start, sizes, sources,
                partial(_report, running, done, total),
            )  # fmt: skip
        done += 2 * sizes[number]
        small, inputs = explaining.used_only(recipe, sides)
        made[path] = _keep(running, blobs.pending(sha256, recipe.size), small.to_bytes(), inputs)
    return made


def _report(running: Running, before: int, total: int, part: int) -> None:
    running.progress(before + part, total, "Applying the update")


def _keep(running: Running, blob: Blob, recipe: bytes, inputs: list[str]) -> Blob:
    """The file as what follows from its inputs; where the chain would be too long, whole."""
    if blob.state == BlobState.PRESENT:
        return blob
    try:
        row = predicted.propose(blob, decoding.NAME, recipe, inputs, io.BytesIO(), 0)
    except predicted.CannotPredict:
        return _whole(recipe, inputs)
    if predicted.rebuilt(row) != blob.pk:
        predicted.withdraw([row])
        raise JobFailed("The checkpoint could not be made twice alike; nothing was committed. Please report this.")
    with running.adopt():
        predicted.confirm(row)
    blob.refresh_from_db()
    return blob


def _whole(recipe: bytes, inputs: list[str]) -> Blob:
    paths = [local.cached(Blob.objects.get(pk=sha256)) for sha256 in inputs]
    with tempfile.NamedTemporaryFile(prefix="tessera-made-") as out, FileSources(paths) as sources:
        for piece in Decoder(recipe, [path.stat().st_size for path in paths], sources).stream(sources):
            out.write(piece)
        out.flush()
        return blobs.store_file(Path(out.name))


def _commit(running: Running, repo: Repo, base: Commit, puts: list[Change]) -> dict[str, Any]:
    """The commit or the change request, remembered with the job in one transaction: a second try finds it."""
    wanted, request = running.arguments, None
    with running.adopt():
        if wanted["propose"]:
            request, made = change_requests.propose(
                actor=running.actor, repo=repo, changes_=puts, title=wanted["message"],
                description=wanted["description"], target=wanted["branch"], base=base.sha,
            )  # fmt: skip
        else:
            message = f"{wanted['message']}\n\n{wanted['description']}".strip()
            made = commits.commit(
                actor=running.actor, repo=repo, changes_=puts, message=message, branch=wanted["branch"], parent=base.sha
            )
        about = request.get_absolute_url() if request else f"{repo.get_absolute_url()}/commit/{made.sha}"
        result = {"commit": made.sha, "request": request.number if request else None, "url": about}
        Job.objects.filter(pk=running.job.pk).update(result=result)
    return result
