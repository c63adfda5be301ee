"""The profiles a router chooses among, stacked so that scoring is a few matrix products; one more changes no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from adapters.routing.discriminant import Discriminant
from adapters.routing.surface import WIDTH, surfaces

Array = npt.NDArray[Any]
NEIGHBOURS = 5
CALIBRATED_FROM = 8
"""From this many examples on, a profile knows how near its own inputs usually are."""
EXACT_ROWS = 40_000
BLOCK = 4_000_000
"""Cosines held in memory at a time."""
SHORTLIST = 128


@dataclass(frozen=True)
class Profile:
    """What routing knows of one specialist.

    `rows`: unit vectors of its example inputs (K, d); `description`: unit vector of its wording and labels, or None;
    `weights`: for weights-only routing, per module a map (r, width), see `weights_only`. `shared`: whether its
    statistics may shape scores of others (False for private ones). `texts` are the examples' words where known.
    """

    name: str
    rows: Array
    labels: tuple[str, ...] = ()
    description: Array | None = None
    weights: Mapping[str, Array] = field(default_factory=dict)
    shared: bool = True
    texts: tuple[str, ...] = ()


class Library:
    """Profiles by position. Positions of removed profiles are given to later ones."""

    def __init__(self, width: int, profiles: Sequence[Profile] = ()) -> None:
        """`width` is the encoder's; profiles of another width are refused."""
        self.width = width
        self.profiles: list[Profile | None] = []
        self._at: dict[str, int] = {}
        self.centres = np.zeros((0, width), np.float32)
        self.usual = np.zeros((0, 2), np.float32)
        self.counts = np.zeros(0, np.int64)
        self._means = np.zeros((0, width), np.float32)
        self._empty: list[int] = []
        self._written = np.zeros((0, WIDTH), np.float16)
        self.meaning, self.wording = Discriminant(width), Discriminant(width + WIDTH)
        for profile in profiles:
            self.add(profile)

    def __len__(self) -> int:
        return len(self._at)

    @property
    def positions(self) -> Array:
        """Positions of all profiles."""
        return np.asarray(sorted(self._at.values()), dtype=np.int64)

    def position(self, name: str) -> int | None:
        """Where a profile is."""
        return self._at.get(name)

    def at(self, position: int) -> Profile:
        """The profile at a position."""
        profile = self.profiles[position]
        assert profile is not None
        return profile

    def add(self, profile: Profile) -> None:
        """Add or replace one profile. Raises ValueError for rows of another width, NaN or zero rows."""
        rows = np.asarray(profile.rows, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise ValueError(
                f"{profile.name} has vectors of another encoder ({rows.shape[-1]} numbers, not {self.width})."
            )
        lengths = np.linalg.norm(rows, axis=1)
        if not (np.isfinite(lengths).all() and (lengths > 0.5).all()):
            raise ValueError(f"{profile.name} has vectors that are zero, not finite or not of length one.")
        self.remove(profile.name)
        place = self._free()
        self.profiles[place], self._at[profile.name] = profile, place
        self.counts[place] = len(rows)
        if len(rows):
            mean = self._means[place] = rows.mean(axis=0)
            self.centres[place] = mean / max(float(np.linalg.norm(mean)), 1e-9)
            self.usual[place] = usual_scores(rows)
            if len(profile.texts) == len(rows):
                self._written[place] = surfaces(profile.texts).mean(axis=0)
        self.meaning.forget(place)
        self.wording.forget(place)
        self._learn(profile, 1)

    def replace_weights(self, name: str, weights: Mapping[str, Array]) -> None:
        """Give a profile its weight maps; nothing else about it changes."""
        place = self._at.get(name)
        if place is not None:
            self.profiles[place] = replace(self.at(place), weights=weights)

    def remove(self, name: str) -> None:
        """Forget a profile, if it is there."""
        place = self._at.pop(name, None)
        if place is None:
            return
        profile = self.at(place)
        self.profiles[place] = None
        self.centres[place], self.usual[place], self.counts[place], self._written[place] = 0, np.nan, 0, np.nan
        self._empty.append(place)
        self._learn(profile, -1)

    def best_cosines(self, vectors: Array, candidates: Array, count: int = NEIGHBOURS) -> Array:
        """Mean of the `count` largest cosines of each input with each candidate's rows: (n, candidates).

        Candidates without rows get -1.
        """
        scores = np.full((len(vectors), len(candidates)), -1.0, np.float32)
        sizes = self.counts[candidates]
        for size in np.unique(sizes[sizes > 0]):
            columns = np.flatnonzero(sizes == size)
            step = max(1, BLOCK // (int(size) * max(len(vectors), 1)))
            for start in range(0, len(columns), step):
                part = columns[start : start + step]
                rows = np.concatenate([self.at(int(place)).rows for place in candidates[part]]).astype(np.float32)
                cosines = (vectors @ rows.T).reshape(len(vectors) * len(part), int(size))
                scores[:, part] = top_mean(cosines, count).reshape(len(vectors), len(part))
        return scores

    def shortlist(self, vectors: Array, candidates: Array, most: int = SHORTLIST) -> Array:
        """The candidates whose centres are nearest to any of the inputs, when scoring all would be slow."""
        if len(candidates) <= most or int(self.counts[candidates].sum()) <= EXACT_ROWS:
            return candidates
        cosines = vectors @ self.centres[candidates].T
        kept = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
        return candidates[np.unique(kept)]

    def likely(self, vectors: Array, candidates: Array, texts: Sequence[str] | None = None) -> Array:
        """Discriminant scores (n, candidates): by meaning, and by how texts are written where their words are known.

        A candidate without words counts as written like the average of the others.
        """
        worded = np.isfinite(self._written[candidates, 0])
        if texts is None or not worded.any():
            return self.meaning.scores(vectors, self._means[candidates], candidates)
        written = self._written[candidates].astype(np.float32)
        asked = np.hstack([vectors, surfaces(texts)])
        if worded.all():
            return self.wording.scores(asked, np.hstack([self._means[candidates], written]), candidates)
        written[~worded] = written[worded].mean(axis=0)
        return self.wording.scores(asked, np.hstack([self._means[candidates], written]))

    def _learn(self, profile: Profile, sign: int) -> None:
        if not profile.shared:
            return
        rows = np.asarray(profile.rows, np.float32)
        self.meaning.learn(rows, sign)
        if len(profile.texts) == len(rows):
            self.wording.learn(np.hstack([rows, surfaces(profile.texts)]), sign)

    def _free(self) -> int:
        if self._empty:
            return self._empty.pop()
        self.profiles.append(None)
        if len(self.profiles) > len(self.centres):
            more = max(64, len(self.centres))
            self.centres = np.concatenate([self.centres, np.zeros((more, self.width), np.float32)])
            self.usual = np.concatenate([self.usual, np.full((more, 2), np.nan, np.float32)])
            self._means = np.concatenate([self._means, np.zeros((more, self.width), np.float32)])
            self._written = np.concatenate([self._written, np.full((more, WIDTH), np.nan, np.float16)])
            self.counts = np.concatenate([self.counts, np.zeros(more, np.int64)])
        return len(self.profiles) - 1


def top_mean(cosines: Array, count: int) -> Array:
    """Mean of the `count` largest values of each row (all of them when there are fewer)."""
    count = min(count, cosines.shape[1])
    if count == cosines.shape[1]:
        return np.asarray(cosines.mean(axis=1))
    return np.asarray(np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1))


def usual_scores(rows: Array) -> Array:
    """Mean and standard deviation of each own example's score against the others (leave one out); NaN when few."""
    if len(rows) < CALIBRATED_FROM:
        return np.full(2, np.nan, np.float32)
    cosines = np.asarray(rows @ rows.T, np.float32)
    np.fill_diagonal(cosines, -np.inf)
    scores = np.partition(cosines, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:].mean(axis=1)
    return np.asarray([scores.mean(), max(float(scores.std()), 1e-3)], np.float32)
