"""Asks of the kind `predict`: route the inputs, run the chosen specialists in mixed batches, say who spoke and why."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.answering.choosing import Chooser, Routed, checked
from adapters.answering.line import CannotAnswer
from adapters.answering.residents import ADAPTERS, Resident, Residents
from adapters.answering.shelf import Candidate
from adapters.routing.declaration import Choice, log_softmax
from adapters.runtime.adapter_files import AdapterFiles
from adapters.runtime.blending import blend
from adapters.runtime.errors import RuntimeFault
from adapters.runtime.generating import generate
from adapters.runtime.likelihood import DEFAULT_TEMPLATE, prompt_of
from hub.accounts.actor import Actor
from hub.repos.models import Repo

APPLY = ("best", "each", "soft")
SHOWN_LABELS = 5
SHORT_ANSWER = 64


@dataclass(frozen=True)
class Wish:
    """One input for one specialist."""

    row: int
    text: str
    repo: Repo
    sha: str
    head: str = ""


class Predictor:
    """Runs specialists for inputs."""

    def __init__(self, chooser: Chooser, residents: Residents) -> None:
        self.chooser, self.residents = chooser, residents

    def answer(self, actor: Actor, payload: dict[str, Any]) -> dict[str, Any]:
        """The whole answer to an ask `predict`: route's payload, and apply ("best", "each" of the top, "soft").

        Raises CannotAnswer, RoutingFault.
        """
        apply = str(payload.get("apply") or "best")
        if apply not in APPLY:
            raise CannotAnswer(f"There is no way to apply called '{apply[:40]}'. Known: {', '.join(APPLY)}.")
        texts = checked(payload.get("texts"))
        routed = self.chooser.route(actor, payload)
        started = time.perf_counter()
        spoken = self._soft(actor, texts, routed) if apply == "soft" else self._plain(actor, texts, routed, apply)
        answers = []
        for row, decision in enumerate(routed.decisions):
            told = self.chooser.described(decision, routed.candidates)
            said = spoken.get(row, [])
            answers.append({"none": decision.none, "answer": said[0] if said else None, "others": said[1:],
                            "why": told["choices"]})  # fmt: skip
        return {
            "router": routed.router, "apply": apply, "candidates": len(routed.candidates),
            "route_seconds": round(routed.seconds, 5), "run_seconds": round(time.perf_counter() - started, 5),
            "answers": answers,
        }  # fmt: skip

    def run(self, actor: Actor, wishes: list[Wish]) -> list[dict[str, Any]]:
        """Run each input on its specialist, in as few batches as the bases allow; a failed one says why in `error`."""
        if len({(wish.repo.pk, wish.head) for wish in wishes}) > ADAPTERS // 2 and len(wishes) > 1:
            half = len(wishes) // 2  # else some would be put out of memory by others of the same question
            return self.run(actor, wishes[:half]) + self.run(actor, wishes[half:])
        results: list[dict[str, Any]] = [{} for _ in wishes]
        by_base: dict[int, tuple[Resident, list[tuple[int, str]]]] = {}
        for place, wish in enumerate(wishes):
            told = {"repo": wish.repo.full_name, "sha": wish.sha}
            try:
                home = self.residents.base(*self.residents.base_of(wish.repo, wish.sha, actor))
                name = self.residents.adapter(home, wish.repo, wish.sha, wish.head)
            except (CannotAnswer, RuntimeFault) as error:
                results[place] = {**told, "error": str(error)}
                continue
            results[place] = told
            by_base.setdefault(id(home), (home, []))[1].append((place, name))
        for home, asked in by_base.values():
            for place, found in self._on(home, asked, wishes):
                results[place] |= found
        return results

    def _on(self, home: Resident, asked: list[tuple[int, str]], wishes: list[Wish]) -> list[tuple[int, dict[str, Any]]]:
        found: list[tuple[int, dict[str, Any]]] = []
        mixed = [(place, name) for place, name in asked if name in home.mixed]
        with home.lock:
            if mixed:
                rows = home.mixed.logits([wishes[place].text for place, _ in mixed], [name for _, name in mixed])
                for (place, name), logits in zip(mixed, rows, strict=True):
                    found.append((place, labelled(logits, home.mixed.labels(name))))
            singly: dict[str, list[int]] = defaultdict(list)
            for place, name in asked:
                if name not in home.mixed:
                    singly[name].append(place)
            for name, places in singly.items():
                found += self._one(home, name, places, wishes)
        return found

    def _one(
        self, home: Resident, name: str, places: list[int], wishes: list[Wish]
    ) -> list[tuple[int, dict[str, Any]]]:
        texts, runtime = [wishes[place].text for place in places], home.runtime
        labels = runtime.labels(name)
        try:
            if runtime.task == "classify":
                rows = runtime.logits(texts, name)
            elif labels:
                rows = runtime.label_scores(
                    [prompt_of(text, None, DEFAULT_TEMPLATE) for text in texts], labels, adapter=name
                )
            else:
                return [(place, {"text": self._short(home, name, wishes[place].text)}) for place in places]
        except RuntimeFault as error:
            return [(place, {"error": str(error)}) for place in places]
        return [(place, labelled(row, labels)) for place, row in zip(places, rows, strict=True)]

    def _short(self, home: Resident, name: str, text: str) -> str:
        said = generate(home.runtime, [{"role": "user", "content": text}], adapter=name, most=SHORT_ANSWER)
        return "".join(part for part, _why in said)

    def _plain(self, actor: Actor, texts: list[str], routed: Routed, apply: str) -> dict[int, list[dict[str, Any]]]:
        wishes = [
            Wish(row, texts[row], *_pinned(routed.candidates[choice.name]))
            for row, decision in enumerate(routed.decisions)
            for choice in (decision.choices[: 1 if apply == "best" else None] if not decision.none else ())
        ]
        spoken: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for wish, result in zip(wishes, self.run(actor, wishes), strict=True):
            spoken[wish.row].append(result)
        return spoken

    def _soft(self, actor: Actor, texts: list[str], routed: Routed) -> dict[int, list[dict[str, Any]]]:
        """The top choices' weights averaged by their shares, per input; only of those with the first one's labels."""
        spoken: dict[int, list[dict[str, Any]]] = {}
        for row, decision in enumerate(routed.decisions):
            if decision.none:
                continue
            first = routed.candidates[decision.choices[0].name]
            home = self.residents.base(*self.residents.base_of(first.repo, first.sha, actor))
            with home.lock:
                spoken[row] = [self._blended(home, actor, texts[row], decision.choices, routed)]
        return spoken

    def _blended(
        self, home: Resident, actor: Actor, text: str, choices: tuple[Choice, ...], routed: Routed
    ) -> dict[str, Any]:
        parts: list[AdapterFiles] = []
        weights: list[float] = []
        names: list[str] = []
        for choice in choices:
            candidate = routed.candidates[choice.name]
            same = self.residents.base_of(candidate.repo, candidate.sha, actor) == (home.repo, home.sha)
            files = home.files[self.residents.adapter(home, candidate.repo, candidate.sha)] if same else None
            if files is not None and (not parts or files.labels == parts[0].labels):
                parts.append(files)
                weights.append(choice.share)
                names.append(candidate.repo.full_name)
        total = sum(weights)
        shares = [weight / total for weight in weights]
        told = {
            "repo": names[0],
            "blend": [{"repo": n, "weight": round(w, 4)} for n, w in zip(names, shares, strict=True)],
        }
        try:
            made = blend(parts, shares)
            home.mixed.add("blend", made)
            try:
                logits = home.mixed.logits([text], ["blend"])[0]
            finally:
                home.mixed.remove("blend")
        except RuntimeFault as error:
            return {**told, "error": str(error)}
        return {**told, **labelled(logits, made.labels)}


def labelled(logits: Any, labels: tuple[str, ...] | None) -> dict[str, Any]:
    """The best label and the probabilities of the best five."""
    shares = np.exp(log_softmax(np.asarray(logits, np.float64)))
    names = (
        list(labels) if labels and len(labels) == len(shares) else [f"label {index}" for index in range(len(shares))]
    )
    order = np.argsort(-shares)[:SHOWN_LABELS]
    return {"label": names[int(order[0])], "labels": {names[int(i)]: round(float(shares[i]), 4) for i in order}}


def _pinned(candidate: Candidate) -> tuple[Repo, str]:
    return candidate.repo, candidate.sha
