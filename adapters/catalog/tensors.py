"""The tensors of a revision, the commit that last changed each, the history of one, and where else the same one is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.cache import cache

from adapters.catalog import comparing
from adapters.catalog.weights import weights
from adapters.diffs import VERSION
from adapters.models import Held, TensorPair
from hub.accounts.actor import NOBODY, Actor
from hub.repos import trees
from hub.repos.models import Commit, GitObject, Repo

MAX_DEPTH = 100
"""How many commits back is looked; a tensor older than that is blamed on the oldest commit looked at."""
KEPT_SECONDS = 24 * 3600
MOST_TWINS = 20
MOST_UPDATES = 20


@dataclass(frozen=True)
class Step:
    """A commit that changed a tensor (or made it: `old` is empty), with the numbers of the change if they are known.

    `update` has those of the update that the tensor is a factor of: a factor may change while its effect does not.
    """

    commit: Commit
    old: str
    new: str
    numbers: dict[str, Any] | None
    update: dict[str, Any] | None = None


def held_at(repo: Repo, commit: Commit) -> list[Held]:
    """Every tensor of a revision with its facts, in file order; files not measured yet are missing."""
    files = [file for group in weights(repo, commit).values() for file in group.files if file.blob]
    order = {file.blob.sha256: number for number, file in enumerate(files) if file.blob}
    rows = Held.objects.filter(manifest__in=order).select_related("tensor").defer("tensor__histogram")
    return sorted(rows, key=lambda row: (order[row.manifest_id], row.position))


def blame(repo: Repo, commit: Commit) -> dict[str, Commit]:
    """Tensor name → the commit (first parents only) that gave it the bytes it has now."""
    key = f"blame:{repo.pk}:{commit.sha}"
    found = cache.get(key)
    if found is None:
        past = _past(repo, commit)
        found = _blamed(past)
        if past and past[0][1]:
            cache.set(key, found, KEPT_SECONDS)
    commits = Commit.objects.select_related("author").filter(repo=repo, sha__in=set(found.values()))
    by_sha = {row.sha: row for row in commits}
    return {name: by_sha[sha] for name, sha in found.items() if sha in by_sha}


def _blamed(past: list[tuple[Commit, dict[str, str]]]) -> dict[str, str]:
    found: dict[str, str] = {}
    if not past:
        return found
    open_ = dict(past[0][1])
    for number, (commit, _keys) in enumerate(past):
        older = past[number + 1][1] if number + 1 < len(past) else {}
        for name, key in list(open_.items()):
            if older.get(name) != key:
                found[name] = commit.sha
                del open_[name]
    return found


def history(repo: Repo, commit: Commit, name: str) -> list[Step]:
    """The commits that changed one tensor, newest first."""
    past = _past(repo, commit)
    steps = []
    for number, (made, keys) in enumerate(past):
        new = keys.get(name, "")
        old = past[number + 1][1].get(name, "") if number + 1 < len(past) else ""
        if new != old:
            steps.append((made, old, new))
    pairs = TensorPair.objects.filter(
        old__in={old for _, old, _ in steps}, new__in={new for _, _, new in steps}, version=VERSION
    )
    numbers = {(row.old, row.new): row.numbers for row in pairs}
    parents = {made.sha: past[number + 1][0] for number, (made, _) in enumerate(past[:-1])}
    return [
        Step(made, old, new, numbers.get((old, new)),
             _update(repo, parents[made.sha], made, name) if old and new and number < MOST_UPDATES else None)
        for number, (made, old, new) in enumerate(steps)
    ]  # fmt: skip


def _update(repo: Repo, before: Commit, after: Commit, name: str) -> dict[str, Any] | None:
    """What a commit did to the update that a tensor is a factor of, where the two revisions have been compared."""
    if ".lora_" not in name:
        return None
    for pair in comparing.pairs(NOBODY, repo, before, repo, after):
        comparison = comparing.compared(NOBODY, pair, ask=False).comparison
        for row in comparison.changes if comparison else ():
            if any(part.get("name") == name for part in row.get("parts", ())):
                return comparing.unpacked(row)
    return None


def twins(actor: Actor, repo: Repo, key: str) -> list[tuple[Repo, str]]:
    """Other repos the actor may read that hold the same tensor at any revision, with its name there."""
    held = dict(Held.objects.filter(tensor=key).values_list("manifest_id", "name"))
    rows = (
        GitObject.objects.filter(large__in=held, repo__in=Repo.objects.visible_to(actor))
        .exclude(repo=repo)
        .order_by("repo_id", "pk")
        .distinct("repo_id")
        .values_list("repo_id", "large_id")[:MOST_TWINS]
    )
    places = dict(rows)
    repos = Repo.objects.select_related("owner").filter(pk__in=places)
    return [(found, held[places[found.pk]]) for found in sorted(repos, key=lambda found: found.full_name)]


def _past(repo: Repo, commit: Commit) -> list[tuple[Commit, dict[str, str]]]:
    """First-parent history, newest first, with tensor name → key at each commit."""
    commits = trees.log(repo, commit, limit=MAX_DEPTH)
    files = {row.sha: _weight_shas(repo, row.tree) for row in commits}
    wanted = {sha for shas in files.values() for sha in shas}
    blobs = dict(GitObject.objects.filter(repo=repo, sha__in=wanted).exclude(large=None).values_list("sha", "large_id"))
    keys: dict[str, dict[str, str]] = {}
    rows = Held.objects.filter(manifest__in=set(blobs.values())).order_by("manifest_id", "position")
    for manifest, name, key in rows.values_list("manifest_id", "name", "tensor_id"):
        keys.setdefault(manifest, {})[name] = key
    return [
        (row, {name: key for sha in files[row.sha] for name, key in keys.get(blobs.get(sha, ""), {}).items()})
        for row in commits
    ]


def _weight_shas(repo: Repo, tree: str) -> list[str]:
    return [sha for path, sha in trees.flatten(repo, tree).items() if path.endswith(".safetensors")]
