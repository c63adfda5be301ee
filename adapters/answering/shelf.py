"""The routing library kept in step with the database: one profile for each placed adapter, rights asked every time."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.db.models import Q

from adapters.answering.line import CannotAnswer
from adapters.catalog import encoder, local
from adapters.embeddings import texts, tuned
from adapters.embeddings.updates import read_update
from adapters.formats.errors import FormatError
from adapters.models import Embedding
from adapters.routing.profiles import Library, Profile
from adapters.routing.weights_only import maps
from adapters.search.relatives import matrix
from hub.accounts.actor import NOBODY, Actor
from hub.repos.models import Commit, Kind, Repo

REFRESH_SECONDS = 1.0
FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Candidate:
    """A specialist that the asker may use: its repo, the commit that is placed, and its position on the shelf.

    `texts`: whether its example vectors are the asker's to know (they may come from a private task).
    """

    repo: Repo
    sha: str
    position: int
    texts: bool


@dataclass(frozen=True)
class Ground:
    """What a router chooses among: candidates, and the library that their positions are of."""

    profiles: Library
    candidates: list[Candidate]


class Shelf:
    """Profiles of every placed adapter of this hub; safe for use by several threads."""

    def __init__(self) -> None:
        self.runtime, self.identity = encoder.loaded()
        width = int(self.runtime.model()[0].config.hidden_size)
        self.profiles = Library(width)
        self.lock = threading.RLock()
        self._seen: dict[Any, tuple[Any, ...]] = {}
        self._public: set[int] = set()
        self._looked = 0.0

    def encode(self, rows: Sequence[str]) -> Any:
        """Unit vectors of texts (n, d)."""
        with self.lock:
            return self.runtime.features(list(rows), normalise=True)

    def candidates(self, actor: Actor, *, base: str = "", only: Sequence[str] | None = None) -> list[Candidate]:
        """The adapters this actor may use now, optionally of one base or of these repo ids. Raises CannotAnswer."""
        self.refresh()
        rows = Embedding.objects.visible_to(actor).filter(self._placed(), repo__kind=Kind.ADAPTER)
        if base:
            rows = rows.filter(repo__facts__base__iexact=base)
            if not Repo.objects.filter(kind=Kind.BASE).with_id(base if base.count("/") == 1 else "/").visible_to(actor):
                raise CannotAnswer(f"There is no base '{base[:100]}' that you may read. Leave it out, or name another.")
        if only is not None:
            rows = rows.filter(repo__in=list(only))
        found = {}
        for row in rows.select_related("repo__owner").defer("rows", "vector", "texts").order_by("repo_id", "-method"):
            place = self.profiles.position(str(row.repo_id))
            if place is not None:
                found[row.repo_id] = Candidate(row.repo, row.sha, place, row.method == texts.METHOD.name)
        return list(found.values())

    def refresh(self) -> None:
        """Take up what was placed since, and drop what is gone; at most once a second."""
        with self.lock:
            if time.monotonic() - self._looked < REFRESH_SECONDS:
                return
            now = self._signatures()
            for repo in [repo for repo in self._seen if repo not in now]:
                self.profiles.remove(str(repo))
            fresh = [repo for repo, signature in now.items() if self._seen.get(repo) != signature]
            self._take(fresh)
            self._seen, self._looked = now, time.monotonic()

    def with_weights(self, candidates: Sequence[Candidate]) -> None:
        """Load the weight maps of these candidates, for routing without examples."""
        for candidate in candidates:
            profile = self.profiles.at(candidate.position)
            commit = Commit.objects.filter(repo=candidate.repo, sha=candidate.sha).first()
            if profile.weights or commit is None:
                continue
            with tempfile.TemporaryDirectory(prefix="tessera-shelf-") as folder:
                try:
                    local.materialise(candidate.repo, commit, Path(folder), lambda path: path in FILES)
                    found = maps(read_update(Path(folder)))
                except (FormatError, FileNotFoundError):
                    found = {}
            with self.lock:
                self.profiles.replace_weights(profile.name, found)

    def _placed(self) -> Any:
        text = Q(method=texts.METHOD.name, version=texts.METHOD.version, probe=self.identity)
        return text | Q(method=tuned.METHOD.name, version=tuned.METHOD.version)

    def _signatures(self) -> dict[Any, tuple[Any, ...]]:
        """Per repo: its rows, and whether everybody may read them, so that any change is noticed."""
        found: dict[Any, tuple[Any, ...]] = {}
        rows = Embedding.objects.filter(self._placed(), repo__kind=Kind.ADAPTER).order_by("repo_id", "-method")
        public = set(Embedding.objects.visible_to(NOBODY).filter(pk__in=rows.order_by()).values_list("pk", flat=True))
        for repo, pk in rows.values_list("repo_id", "pk"):
            found[repo] = (*found.get(repo, ()), pk, pk in public)
        self._public = public
        return found

    def _take(self, repos: Sequence[Any]) -> None:
        if not repos:
            return
        rows = {
            row.repo_id: row
            for row in Embedding.objects.filter(self._placed(), method=texts.METHOD.name, repo__in=repos)
            .select_related("repo__owner", "source__owner")
        }  # fmt: skip
        known = {repo.pk: repo for repo in Repo.objects.filter(pk__in=repos).select_related("owner")}
        worded = [(pk, wording(repo)) for pk, repo in known.items()]
        vectors = dict(zip([pk for pk, _ in worded], self.encode([words for _, words in worded]), strict=True))
        for pk, repo in known.items():
            row = rows.get(pk)
            stored = matrix(row) if row else None
            profile = Profile(
                name=str(pk), rows=np.zeros((0, self.profiles.width), np.float32) if stored is None else stored,
                labels=tuple(repo.facts.get("labels") or ()), description=vectors[pk],
                shared=row is not None and row.pk in self._public,
                texts=tuple(row.texts) if row else (),
            )  # fmt: skip
            if stored is None or stored.shape[1] == self.profiles.width:
                self.profiles.add(profile)


def wording(repo: Repo) -> str:
    """A repo in words: its name, description and labels."""
    labels = ", ".join(str(label).replace("_", " ") for label in (repo.facts.get("labels") or [])[:60])
    name = repo.name.replace("-", " ").replace("_", " ")
    return f"{name}. {repo.description} {'Labels: ' + labels if labels else ''}".strip()
