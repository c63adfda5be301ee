"""Which stored files may explain a checkpoint: its parents, other branches, its declared base, adapters of that base.

Beside the repo's own files only public ones are looked at, for a private repo also others of its owner: what is hidden
from somebody never shapes how a file they may read is stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db.models import Q

from adapters.catalog import local, weights
from adapters.catalog.weights import Weights
from adapters.encoding import Recipe
from adapters.encoding import recipe as recipes
from adapters.encoding.listed import renumber
from adapters.encoding.offers import Family, OnFamily
from adapters.encoding.ways import Way
from adapters.formats.errors import FormatError
from adapters.formats.peft_config import parse_config
from adapters.formats.safetensors_header import read_header
from adapters.models import Lineage, Relation
from hub.accounts.actor import NOBODY
from hub.repos.models import Commit, Kind, Ref, Repo
from hub.store import predicted
from hub.store.models import Blob, BlobState, Prediction

MOST_FILES = 24
MOST_TIMES = 5
"""So many times the file's own size is looked at in all, so that a worker's cache has room."""

MOST_BRANCHES = 4
MOST_ADAPTERS = 8


@dataclass
class Sides:
    """Blobs by number, and what they are to one another."""

    own: Blob
    name: str = ""
    blobs: list[Blob] = field(default_factory=list)
    families: list[tuple[int, Family]] = field(default_factory=list)
    adapters: list[tuple[int, Weights]] = field(default_factory=list)
    parents: list[Blob] = field(default_factory=list)

    def number(self, blob: Blob) -> int:
        """The blob's number among the inputs."""
        if blob not in self.blobs:
            self.blobs.append(blob)
        return self.blobs.index(blob)

    def alike(self, group: Weights) -> list[Blob]:
        """The file of the same name of another checkpoint (a shard is explained by that shard), else all its files."""
        same = [file.blob for file in group.files if file.blob and file.path.rpartition("/")[2] == self.name]
        return same or group.blobs

    def add_family(self, blobs: Iterable[Blob]) -> None:
        """A checkpoint; what is three predictions away already, and what would be too much, is left out."""
        near = []
        for blob in blobs:
            levels = predicted.levels_below([blob.pk])
            total = sum(one.size for one in self.blobs) + blob.size
            room = blob in self.blobs or (len(self.blobs) < MOST_FILES and total <= MOST_TIMES * self.own.size)
            if blob.pk != self.own.pk and levels < predicted.MOST_LEVELS and room:
                near.append((levels, self.number(blob)))
        family = Family(tuple(number for _, number in near))
        if near and all(family != known for _, known in self.families):
            self.families.append((max(levels for levels, _ in near), family))

    @property
    def nearest_first(self) -> list[Family]:
        """Families in the order in which they are cheap to read."""
        return [family for _, family in sorted(self.families, key=lambda pair: pair[0])]

    def paths(self) -> list[Path]:
        """Local copies. Raises WrongBytes, StoreError."""
        return [local.cached(blob) for blob in self.blobs]


def gather(repo: Repo, commit: Commit, path: str, own: Blob) -> Sides:
    """What may explain a file of a commit: parents, what they follow from, the base, adapters, then other branches."""
    folder, _, name = path.rpartition("/")
    sides = Sides(own, name)
    for parent in Commit.objects.filter(repo=repo, sha__in=commit.parents):
        found = weights.weights(repo, parent).get(folder)
        if found is not None and found.config is None:
            sides.parents += sides.alike(found)
            sides.add_family(sides.alike(found))
    for blob in list(sides.parents):
        row = Prediction.objects.filter(blob=blob, state=BlobState.PRESENT).first()
        for one in row.inputs.select_related("blob") if row else ():
            sides.add_family([one.blob])
    _declared(sides, repo, commit)
    branches = Ref.objects.filter(repo=repo).exclude(target__in=[commit.sha, *commit.parents]).order_by("-updated_at")
    for head in Commit.objects.filter(
        repo=repo, sha__in=list(branches.values_list("target", flat=True)[:MOST_BRANCHES])
    ):
        found = weights.weights(repo, head).get(folder)
        if found is not None and found.config is None:
            sides.add_family(sides.alike(found))
    return sides


def _declared(sides: Sides, repo: Repo, commit: Commit) -> None:
    """The base that the card or the lineage names, and adapters made for it or for the repo's own checkpoint."""
    open_to_all = Q(pk__in=Repo.objects.visible_to(NOBODY))
    own = Q(owner=repo.owner_id) if repo.private else Q(pk__in=[])
    shown = Repo.objects.filter(open_to_all | own).exclude(pk=repo.pk)
    named = Q(pk__in=Lineage.objects.filter(child=repo, child_sha=commit.sha).values("parent"))
    for name in _names(repo.card.get("base_model")):
        named |= Q(pk__in=Repo.objects.with_id(name).values("pk"))
    related = list(shown.filter(named).select_related("owner")[:MOST_ADAPTERS])
    bases = [one for one in related if one.kind == Kind.BASE]
    adapters = [one for one in related if one.kind == Kind.ADAPTER]
    for adapter in adapters:
        rows = Lineage.objects.filter(child=adapter, child_sha=adapter.head, relation=Relation.ADAPTER_OF)
        bases += shown.filter(pk__in=rows.values("parent"), kind=Kind.BASE).select_related("owner")
    for base in {one.pk: one for one in (*bases, repo)}.values():
        found = _weights_of(base) if base != repo else None
        if found is not None:
            sides.add_family(sides.alike(found))
        made = Lineage.objects.filter(parent=base, relation=Relation.ADAPTER_OF, child__in=shown)
        latest = made.order_by("-pk").values_list("child", flat=True)[:MOST_ADAPTERS]
        adapters += shown.filter(pk__in=list(latest)).select_related("owner")
    for adapter in list({one.pk: one for one in adapters}.values())[:MOST_ADAPTERS]:
        group = _weights_of(adapter)
        if group is None or group.config is None or len(group.blobs) != 1 or len(sides.blobs) >= MOST_FILES:
            continue
        sides.adapters.append((sides.number(group.blobs[0]), group))


def on_families(sides: Sides) -> list[OnFamily]:
    """Each adapter on each checkpoint; the nearest first."""
    found = []
    for number, group in sides.adapters:
        assert group.config is not None
        try:
            config = parse_config(group.config.read())
        except FormatError:
            continue
        found += [OnFamily(number, config, place) for place in range(len(sides.families))]
    return found


def inherited(sides: Sides) -> dict[str, Way]:
    """Tensor name → the way that explained a parent's tensor exactly: a child may use the parent's own inputs."""
    found: dict[str, Way] = {}
    for blob in sides.parents:
        row = Prediction.objects.filter(blob=blob, state=BlobState.PRESENT).first()
        if row is None:
            continue
        inputs = [one.blob for one in row.inputs.select_related("blob")]
        near = {one.pk for one in inputs if predicted.levels_below([one.pk]) < predicted.MOST_LEVELS}
        recipe = recipes.parse(bytes(row.recipe))
        infos = [info for info in read_header(local.cached(blob)).tensors.values() if info.nbytes]
        at = 1
        for info, way in zip(infos, recipe.ways, strict=True):
            count = recipes.blocks_of(info.nbytes)
            used = {inputs[number].pk for number in way.inputs()}
            if way.inputs() and used <= near and not any(recipe.lengths[at : at + count]):
                numbers = {number: sides.number(inputs[number]) for number in way.inputs()}
                found.setdefault(info.name, renumber(way, numbers))
            at += count
    return found


def _weights_of(repo: Repo) -> Weights | None:
    head = Commit.objects.filter(repo=repo, sha=repo.head).first() if repo.head else None
    return weights.weights(repo, head).get("") if head else None


def _names(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [name for name in values if isinstance(name, str) and name.count("/") == 1][:MOST_ADAPTERS]


def used_only(recipe: Recipe, sides: Sides) -> tuple[Recipe, list[str]]:
    """The recipe with only the inputs it reads, and their hashes in its order."""
    used = sorted({number for way in (recipe.head_way, *recipe.ways) for number in way.inputs()})
    numbers = {old: new for new, old in enumerate(used)}
    ways = tuple(renumber(way, numbers) for way in recipe.ways)
    made = Recipe(
        recipe.size, len(used), recipe.head, renumber(recipe.head_way, numbers), ways, recipe.lengths, recipe.checks
    )
    return made, [sides.blobs[number].pk for number in used]
