"""Asks of the kind `route`: which specialists fit these inputs, and why."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.answering import named
from adapters.answering.composites import Composite
from adapters.answering.line import CannotAnswer
from adapters.answering.neutral import NEUTRAL
from adapters.answering.residents import Residents
from adapters.answering.shelf import Candidate, Ground, Shelf
from adapters.answering.systems import Systems
from adapters.routing import DEFAULT, Decision, Hint, Library, Query, routers
from adapters.routing.deciding import decide
from adapters.runtime.hidden import module_inputs
from hub.accounts.actor import Actor

MOST_INPUTS, MOST_LETTERS = 64, 20_000


@dataclass(frozen=True)
class Routed:
    """Decisions for some inputs, and the candidates by the names that decisions carry, in the library they are of."""

    decisions: list[Decision]
    candidates: dict[str, Candidate]
    profiles: Library
    router: str
    seconds: float


class Chooser:
    """Routes inputs over the shelf."""

    def __init__(self, shelf: Shelf, residents: Residents) -> None:
        self.shelf, self.residents = shelf, residents
        self.systems = Systems(shelf)
        self.routers = routers()

    def route(self, actor: Actor, payload: dict[str, Any], system: Composite | None = None) -> Routed:
        """Decide for each input of {texts, hint?, labels?, top?, base?, router?, parameters?, only?}.

        Among the members of `system` and by its router, else over the hub. Raises CannotAnswer, RoutingFault.
        """
        texts = checked(payload.get("texts"))
        hint = self._hint(payload)
        parameters = payload.get("parameters") or {}
        name = str(payload.get("router") or ("hinted" if hint else ""))
        if not name:
            name = system.router if system else DEFAULT
            parameters = {**system.parameters, **parameters} if system else parameters
        if name not in self.routers:
            raise CannotAnswer(f"There is no router '{name[:40]}'. Known: {', '.join(self.routers)}.")
        router = self.routers[name]
        ground = self._ground(actor, payload, system)
        candidates = ground.candidates
        if "texts" in router.needs:
            candidates = [candidate for candidate in candidates if candidate.texts]
        elif system:
            raise CannotAnswer(f"The router {name} does not choose by texts, as a System's routers do.")
        vectors = self.shelf.encode(texts)
        hidden = self._hidden(actor, candidates, texts, payload) if "weights" in router.needs else None
        started = time.perf_counter()
        with self.shelf.lock:
            decisions = decide(
                ground.profiles, router, Query(vectors, hint, hidden, texts),
                candidates=np.asarray([candidate.position for candidate in candidates], np.int64),
                top=min(20, int(payload.get("top") or 3)), parameters=parameters,
            )  # fmt: skip
        by_name = {str(candidate.repo.pk): candidate for candidate in candidates}
        return Routed(decisions, by_name, ground.profiles, name, time.perf_counter() - started)

    def _ground(self, actor: Actor, payload: dict[str, Any], system: Composite | None) -> Ground:
        if system is not None:
            return self.systems.ground(system)
        found = self.shelf.candidates(actor, base=str(payload.get("base") or ""), only=payload.get("only"))
        return Ground(self.shelf.profiles, found)

    def answer(self, actor: Actor, payload: dict[str, Any]) -> dict[str, Any]:
        """The whole answer to an ask `route`, as plain values."""
        model = named.find(str(payload.get("model") or ""), actor)
        if isinstance(model, named.Single):
            raise CannotAnswer(f"{model.repo.full_name} is one specialist; there is nothing to choose.")
        routed = self.route(actor, payload, model)
        return {
            "router": routed.router,
            "candidates": len(routed.candidates),
            "seconds": round(routed.seconds, 5),
            "decisions": [self.described(decision, routed) for decision in routed.decisions],
        }

    def described(self, decision: Decision, routed: Routed) -> dict[str, Any]:
        """One decision with names, labels and the words of the nearest examples."""
        choices = []
        for choice in decision.choices:
            candidate = routed.candidates[choice.name]
            profile = routed.profiles.at(candidate.position)
            words = profile.texts if candidate.texts else ()
            choices.append({
                "repo": candidate.repo.full_name, "sha": candidate.sha, "base": candidate.repo.facts.get("base"),
                "score": round(choice.score, 4), "share": round(choice.share, 4),
                "fit": None if choice.fit is None else round(choice.fit, 2), "labels": list(profile.labels[:60]),
                "nearest": [
                    {"text": words[index] if index < len(words) else "", "cosine": round(value, 4)}
                    for index, value in choice.nearest
                ] if candidate.texts else [],
            })  # fmt: skip
        return {"none": decision.none, "choices": choices}

    def _hint(self, payload: dict[str, Any]) -> Hint | None:
        words, labels = str(payload.get("hint") or "").strip(), tuple(payload.get("labels") or ())
        if not words and not labels:
            return None
        said = ". ".join(filter(None, [words, f"Labels: {', '.join(labels)}" if labels else ""]))
        return Hint(self.shelf.encode([said])[0], labels)

    def _hidden(
        self, actor: Actor, candidates: Sequence[Candidate], texts: Sequence[str], payload: dict[str, Any]
    ) -> dict[str, list[Any]]:
        if not candidates:
            return {}
        if not payload.get("base"):
            raise CannotAnswer("The weights-only router reads one base's hidden states: name the base.")
        self.shelf.with_weights(candidates)
        base, sha = self.residents.base_of(candidates[0].repo, candidates[0].sha, actor)
        home = self.residents.base(base, sha)
        modules = {module for candidate in candidates for module in self.shelf.profiles.at(candidate.position).weights}
        with home.lock:
            return module_inputs(home.runtime, [*texts, *NEUTRAL], modules)


def checked(texts: Any) -> list[str]:
    """The inputs, if they are ones. Raises CannotAnswer with the number of the bad one."""
    if not isinstance(texts, list) or not 0 < len(texts) <= MOST_INPUTS:
        count = len(texts) if isinstance(texts, list) else 0
        raise CannotAnswer(f"There are {count} inputs; give between 1 and {MOST_INPUTS} at a time.")
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str) or not text.strip():
            raise CannotAnswer(f"Input {number} is empty. Give every input some text.")
        if len(text) > MOST_LETTERS:
            raise CannotAnswer(f"Input {number} has {len(text):,} letters; at most {MOST_LETTERS:,} are read.")
    return texts
