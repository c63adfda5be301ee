"""Lets specialists speak: inputs of different adapters on one base in mixed batches, texts piece by piece."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.answering.line import CannotAnswer
from adapters.answering.residents import ADAPTERS, Resident, Residents
from adapters.routing.declaration import log_softmax
from adapters.routing.surest import sureness
from adapters.runtime.bases import first_line
from adapters.runtime.errors import RuntimeFault
from adapters.runtime.generating import generate
from adapters.runtime.likelihood import DEFAULT_TEMPLATE, prompt_of
from hub.accounts.actor import Actor
from hub.repos.models import Repo

log = logging.getLogger(__name__)

SHOWN_LABELS = 5
SHORT_ANSWER = 64


@dataclass(frozen=True)
class Wish:
    """One input for one specialist, or for a base; `head` names one of a merge's heads, `score` is the router's."""

    row: int
    text: str
    repo: Repo
    sha: str
    head: str = ""
    score: float = 0.0

    @property
    def told(self) -> dict[str, Any]:
        """Who speaks, as answers say it."""
        return {"repo": self.repo.full_name, "sha": self.sha}


class Speaker:
    """Runs specialists for inputs."""

    def __init__(self, residents: Residents) -> None:
        self.residents = residents

    def home(self, wish: Wish, actor: Actor) -> tuple[Resident, str | None]:
        """The base in memory that this wish needs, and the name of its specialist there (None for the bare base).

        Raises CannotAnswer, RuntimeFault.
        """
        home = self.residents.base(*self.residents.base_of(wish.repo, wish.sha, actor))
        return home, self.residents.adapter(home, wish.repo, wish.sha, wish.head)

    def run(self, actor: Actor, wishes: list[Wish], *, sure: bool = False) -> list[dict[str, Any]]:
        """Run each input on its specialist, in as few batches as the bases allow; a failed one says why in `error`.

        With `sure` those that mixed batches can run also say how sure they are, against neutral text.
        """
        if len({(wish.repo.pk, wish.head) for wish in wishes}) > ADAPTERS // 2 and len(wishes) > 1:
            half = len(wishes) // 2  # else some would be put out of memory by others of the same question
            return self.run(actor, wishes[:half], sure=sure) + self.run(actor, wishes[half:], sure=sure)
        results: list[dict[str, Any]] = [wish.told for wish in wishes]
        by_base: dict[int, tuple[Resident, list[tuple[int, str | None]]]] = {}
        for place, wish in enumerate(wishes):
            try:
                home, name = self.home(wish, actor)
            except (CannotAnswer, RuntimeFault) as error:
                results[place] = {**wish.told, "error": str(error)}
                continue
            by_base.setdefault(id(home), (home, []))[1].append((place, name))
        for home, asked in by_base.values():
            for place, found in self._on(home, asked, wishes, sure):
                results[place] |= found
        return results

    def writes(self, wish: Wish, actor: Actor) -> bool:
        """Whether this specialist writes a text, instead of choosing a label. Raises CannotAnswer, RuntimeFault."""
        home, name = self.home(wish, actor)
        return home.runtime.task == "generate" and (name is None or not home.runtime.labels(name))

    def text(
        self, actor: Actor, wish: Wish, messages: Sequence[Mapping[str, str]], **settings: Any
    ) -> Iterator[tuple[str, str | None]]:
        """Pieces of the text that a specialist writes, and at last ("", why). Raises CannotAnswer, RuntimeFault."""
        home, name = self.home(wish, actor)
        with home.lock:
            yield from generate(home.runtime, messages, adapter=name, **settings)

    def _on(
        self, home: Resident, asked: list[tuple[int, str | None]], wishes: list[Wish], sure: bool
    ) -> list[tuple[int, dict[str, Any]]]:
        with home.lock:
            mixed = [(place, name) for place, name in asked if name is not None and name in home.mixed]
            found = self._mixed(home, mixed, wishes, sure)
            done = {place for place, _ in found}
            singly: dict[str | None, list[int]] = defaultdict(list)
            for place, single in asked:
                if place not in done:
                    singly[single].append(place)
            for single, places in singly.items():
                found += self._one(home, single, places, wishes)
        return found

    def _mixed(
        self, home: Resident, asked: list[tuple[int, str]], wishes: list[Wish], sure: bool
    ) -> list[tuple[int, dict[str, Any]]]:
        """What mixed batches say. A specialist that breaks its batch is left out, to be run one at a time."""
        if not asked:
            return []
        names = sorted({name for _, name in asked})
        try:
            rows = home.mixed.logits([wishes[place].text for place, _ in asked], [name for _, name in asked])
            return [
                (
                    place,
                    labelled(logits, home.mixed.labels(name))
                    | ({"sure": round(float(sureness([logits], home.neutral(name))[0]), 2)} if sure else {}),
                )
                for (place, name), logits in zip(asked, rows, strict=True)
            ]
        except (RuntimeFault, RuntimeError) as error:
            if len(names) == 1:
                log.warning("%s cannot be run in mixed batches: %s", names[0], error)
                home.run_singly(names[0])
                return []
        each = [[one for one in asked if one[1] == name] for name in names]
        return [found for part in each for found in self._mixed(home, part, wishes, sure)]

    def _one(
        self, home: Resident, name: str | None, places: list[int], wishes: list[Wish]
    ) -> list[tuple[int, dict[str, Any]]]:
        texts, runtime = [wishes[place].text for place in places], home.runtime
        try:
            labels = runtime.labels(name) if name is not None else None
            if runtime.task == "classify":
                if name is None:
                    raise RuntimeFault(f"{home.repo.full_name} is an encoder without a head; ask one of its adapters.")
                rows = runtime.logits(texts, name)
            elif labels:
                rows = runtime.label_scores(
                    [prompt_of(text, None, DEFAULT_TEMPLATE) for text in texts], labels, adapter=name
                )
            else:
                return [(place, {"text": self._short(home, name, wishes[place].text)}) for place in places]
        except RuntimeFault as error:
            return [(place, {"error": str(error)}) for place in places]
        except RuntimeError as error:
            log.exception("%s failed on %s", name, home.repo.full_name)
            said = f"This specialist failed on its base: {first_line(error)}"
            return [(place, {"error": said}) for place in places]
        return [(place, labelled(row, labels)) for place, row in zip(places, rows, strict=True)]

    def _short(self, home: Resident, name: str | None, text: str) -> str:
        said = generate(home.runtime, [{"role": "user", "content": text}], adapter=name, most=SHORT_ANSWER)
        return "".join(part for part, _why in said)


def labelled(logits: Any, labels: tuple[str, ...] | None) -> dict[str, Any]:
    """The best label and the probabilities of the best five."""
    shares = np.exp(log_softmax(np.asarray(logits, np.float64)))
    names = (
        list(labels) if labels and len(labels) == len(shares) else [f"label {index}" for index in range(len(shares))]
    )
    order = np.argsort(-shares)[:SHOWN_LABELS]
    return {"label": names[int(order[0])], "labels": {names[int(i)]: round(float(shares[i]), 4) for i in order}}
