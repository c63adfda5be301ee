"""The libraries of Systems: one for each set of pinned members, apart from the shelf of the whole hub."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from adapters.answering.composites import Composite, Part
from adapters.answering.line import CannotAnswer
from adapters.answering.shelf import Candidate, Ground, Shelf, wording
from adapters.catalog import examples
from adapters.embeddings import texts
from adapters.models import Embedding, Inspection
from adapters.routing.profiles import Library, Profile
from adapters.search.relatives import matrix
from hub.repos.models import Commit

LIBRARIES, TASKS = 16, 256


class Systems:
    """Builds what a System's router chooses among, from what its asker may read, and keeps it."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._libraries: OrderedDict[Any, Ground] = OrderedDict()
        self._rows: OrderedDict[Any, tuple[Any, tuple[str, ...]]] = OrderedDict()

    def ground(self, composite: Composite) -> Ground:
        """A library with a profile for each member. Raises CannotAnswer when there is none to choose from."""
        if not composite.parts:
            raise CannotAnswer(f"{composite.repo.full_name} has no specialist that you may read.")
        key = tuple((part.repo.pk, part.sha, part.task.pk, part.task_sha) for part in composite.parts)
        with self.shelf.lock:
            if key not in self._libraries:
                while len(self._libraries) >= LIBRARIES:
                    self._libraries.popitem(last=False)
                self._libraries[key] = self._built(composite.parts)
            self._libraries.move_to_end(key)
            return self._libraries[key]

    def _built(self, parts: tuple[Part, ...]) -> Ground:
        library = Library(self.shelf.profiles.width)
        facts = Inspection.objects.filter(sha__in=[part.sha for part in parts]).values_list("repo_id", "sha", "facts")
        labels = {(repo, sha): tuple(known.get("labels") or ()) for repo, sha, known in facts}
        words = self.shelf.encode([wording(part.repo) for part in parts])
        candidates = []
        for part, described in zip(parts, words, strict=True):
            rows, told = self._examples(part)
            if not len(rows):
                continue
            name = str(part.repo.pk)
            library.add(Profile(name, rows, labels.get((part.repo.pk, part.sha), ()), described, texts=told))
            place = library.position(name)
            assert place is not None
            candidates.append(Candidate(part.repo, part.sha, place, texts=True))
        if not candidates:
            raise CannotAnswer("None of this System's tasks has train texts for its router to know it by.")
        return Ground(library, candidates)

    def _examples(self, part: Part) -> tuple[Any, tuple[str, ...]]:
        """The rows a member is known by: its task's, as they were placed at that commit, or encoded now."""
        key = (part.task.pk, part.task_sha)
        if key not in self._rows:
            while len(self._rows) >= TASKS:
                self._rows.popitem(last=False)
            self._rows[key] = self._stored(part) or self._encoded(part)
        return self._rows[key]

    def _stored(self, part: Part) -> tuple[Any, tuple[str, ...]] | None:
        row = Embedding.objects.filter(
            repo=part.task, sha=part.task_sha, method=texts.METHOD.name, version=texts.METHOD.version,
            probe=self.shelf.identity,
        ).first()  # fmt: skip
        found = matrix(row) if row else None
        return None if row is None or found is None else (found, tuple(row.texts))

    def _encoded(self, part: Part) -> tuple[Any, tuple[str, ...]]:
        commit = Commit.objects.filter(repo=part.task, sha=part.task_sha).first()
        rows = examples.task_rows(part.task, commit) if commit else []
        told = [texts.text_of(row) for row in texts.choose(rows, texts.MOST)]
        found = self.shelf.encode(told) if told else np.zeros((0, self.shelf.profiles.width), np.float32)
        return found, tuple(text[:300] for text in told)
