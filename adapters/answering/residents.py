"""Bases and adapters kept in memory, those not used longest go first."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.answering.line import CannotAnswer
from adapters.answering.neutral import NEUTRAL
from adapters.catalog import bases, local
from adapters.models import Inspection
from adapters.runtime.adapter_files import AdapterFiles, read_adapter, read_head
from adapters.runtime.mixed import MixedBatches
from adapters.runtime.runtime import Runtime
from hub.accounts.actor import Actor
from hub.repos.models import Commit, Kind, Repo

BASES, ADAPTERS = 3, 64
TOKENS = 256


@dataclass
class Resident:
    """One base in memory with the adapters taken up for it; `files` are the adapters' own, by repo@sha or head."""

    repo: Repo
    sha: str
    runtime: Runtime
    mixed: MixedBatches
    files: OrderedDict[str, AdapterFiles] = field(default_factory=OrderedDict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _neutral: dict[str, list[Any]] = field(default_factory=dict)

    def neutral(self, name: str) -> list[Any]:
        """What an adapter's head says of neutral sentences, run once."""
        if name not in self._neutral:
            self._neutral[name] = self.mixed.logits(list(NEUTRAL), [name] * len(NEUTRAL))
        return self._neutral[name]

    def run_singly(self, name: str) -> None:
        """Take an adapter out of the mixed batches, to be run one at a time from now on. Raises RuntimeFault."""
        if name in self.mixed:
            self.mixed.remove(name)
            self._neutral.pop(name, None)
            self.runtime.attach_files(name, self.files[name])

    def drop_oldest(self) -> None:
        """Forget the adapter not used longest."""
        name, _files = self.files.popitem(last=False)
        self.mixed.remove(name)
        self._neutral.pop(name, None)
        if name in self.runtime.adapters:
            self.runtime.detach(name)


class Residents:
    """The worker's memory of models."""

    def __init__(self) -> None:
        self._bases: OrderedDict[str, Resident] = OrderedDict()
        self._lock = threading.RLock()

    def base_of(self, repo: Repo, sha: str, actor: Actor) -> tuple[Repo, str]:
        """The base repo and commit an adapter was made for, if the actor may read it; a base is its own.

        Raises CannotAnswer.
        """
        if repo.kind == Kind.BASE:
            return repo, sha
        row = Inspection.objects.filter(repo=repo, sha=sha).first()
        facts = row.facts if row else {}
        base = bases.find_base(str(facts.get("base") or facts.get("base_model") or ""), actor)
        if base is None:
            raise CannotAnswer(
                f"{repo.full_name} was made for the base '{facts.get('base_model') or 'unknown'}', which is not here."
            )
        known = Commit.objects.filter(repo=base, sha=facts.get("base_sha") or base.head).exists()
        return base, str(facts.get("base_sha") if known and facts.get("base_sha") else base.head)

    def base(self, repo: Repo, sha: str) -> Resident:
        """A base, loaded if it is not. Raises RuntimeFault, CannotAnswer."""
        key = f"{repo.pk}@{sha}"
        with self._lock:
            if key in self._bases:
                self._bases.move_to_end(key)
                return self._bases[key]
            folder = Path(tempfile.mkdtemp(prefix="tessera-base-"))
            try:
                local.materialise(repo, _commit(repo, sha), folder)
                runtime = Runtime(folder, max_length=TOKENS)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            while len(self._bases) >= BASES:
                self._bases.popitem(last=False)
            made = self._bases[key] = Resident(repo, sha, runtime, MixedBatches(runtime))
            return made

    def adapter(self, home: Resident, repo: Repo, sha: str, head: str = "") -> str | None:
        """An adapter in a base's care, read if it is not; returns its name there, None for the bare base itself.

        Raises RuntimeFault, CannotAnswer.
        """
        if repo == home.repo and not head:
            return None
        name = f"{repo.pk}@{sha}{'#' + head if head else ''}"
        with home.lock:
            if name in home.files:
                home.files.move_to_end(name)
                return name
            with tempfile.TemporaryDirectory(prefix="tessera-adapter-") as folder:
                parts = (lambda path: path.startswith("heads/")) if repo == home.repo else local.wants_everything
                local.materialise(repo, _commit(repo, sha), Path(folder), parts)
                chosen = Path(folder) / "heads" / f"{head}.safetensors" if head else None
                if chosen is not None and not chosen.is_file():
                    raise CannotAnswer(f"{repo.full_name} keeps no head named {head}.")
                if repo == home.repo and chosen is not None:
                    files = read_head(chosen)  # a merged checkpoint: the updates are in its weights already
                else:
                    files = read_adapter(Path(folder), chosen)
            while len(home.files) >= ADAPTERS:
                home.drop_oldest()
            if not home.mixed.add(name, files):
                home.runtime.attach_files(name, files)
            home.files[name] = files
            return name


def _commit(repo: Repo, sha: str) -> Commit:
    commit = Commit.objects.filter(repo=repo, sha=sha).first()
    if commit is None:
        raise CannotAnswer("A specialist was deleted while it was asked. Ask again.")
    return commit
