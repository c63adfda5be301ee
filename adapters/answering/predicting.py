"""Asks of the kind `predict`: route the inputs, let the chosen specialists speak, say who spoke and why."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from adapters.answering import named
from adapters.answering.choosing import Chooser, Routed, checked
from adapters.answering.heads import head_for
from adapters.answering.line import CannotAnswer
from adapters.answering.residents import Resident
from adapters.answering.speaking import SHORT_ANSWER, Speaker, Wish, labelled
from adapters.routing.declaration import Choice
from adapters.runtime.adapter_files import AdapterFiles
from adapters.runtime.blending import blend
from adapters.runtime.errors import RuntimeFault
from hub.accounts.actor import Actor

APPLY = ("best", "each", "soft")
MOST_TOKENS = 1024


@dataclass(frozen=True)
class _Plan:
    """What is asked of whom: per input, whether nothing fits, and why who was chosen; `routed` where one chose."""

    texts: list[str]
    wishes: list[Wish]
    routed: Routed | None
    apply: str
    model: str

    def rows(self, chooser: Chooser) -> list[dict[str, Any]]:
        """Per input: none, and why."""
        if self.routed is None:
            return [{"none": False, "why": []} for _ in self.texts]
        told = [chooser.described(decision, self.routed) for decision in self.routed.decisions]
        return [{"none": row["none"], "why": row["choices"]} for row in told]

    def head(self) -> dict[str, Any]:
        """What holds for all inputs."""
        routed = self.routed
        return {
            "model": self.model, "router": routed.router if routed else "", "apply": self.apply,
            "candidates": len(routed.candidates) if routed else 1,
            "route_seconds": round(routed.seconds, 5) if routed else 0.0,
        }  # fmt: skip


class Predictor:
    """Answers inputs by the router over the hub, by a System, or by one named specialist."""

    def __init__(self, chooser: Chooser, speaker: Speaker) -> None:
        self.chooser, self.speaker = chooser, speaker

    def answer(self, actor: Actor, payload: dict[str, Any]) -> dict[str, Any] | Iterator[dict[str, Any]]:
        """The answer to an ask `predict`: route's payload, model ("router", System, adapter, merge or base), apply
        ("best", "each" of the top, "soft"), max_tokens; with `stream` in parts, see `parts`.

        Raises CannotAnswer, RoutingFault.
        """
        if payload.get("stream"):
            return self.parts(actor, payload)
        plan = self._plan(actor, payload)
        started = time.perf_counter()
        spoken = self._soft(actor, plan) if plan.apply == "soft" else self._spoken(actor, plan)
        answers = [
            {**row, "answer": spoken[number][0] if spoken.get(number) else None, "others": spoken.get(number, [])[1:]}
            for number, row in enumerate(plan.rows(self.chooser))
        ]
        return {**plan.head(), "run_seconds": round(time.perf_counter() - started, 5), "answers": answers}

    def parts(self, actor: Actor, payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """First {…, "rows": [{none, why}]}; then {"row", "repo", "text"} as texts grow and {"row", "answer"} for each
        specialist that has spoken; at last {"done", "run_seconds"}. Raises CannotAnswer, RoutingFault."""
        plan = self._plan(actor, payload)
        yield {**plan.head(), "rows": plan.rows(self.chooser)}
        started = time.perf_counter()
        if plan.apply == "soft":
            for row, said in self._soft(actor, plan).items():
                yield {"row": row, "answer": said[0]}
        else:
            writing: list[Wish] = []
            others: list[Wish] = []
            for wish in plan.wishes:
                (writing if self._writes(actor, wish) else others).append(wish)
            for wish, result in zip(others, self.speaker.run(actor, others), strict=True):
                yield {"row": wish.row, "answer": result}
            for wish in writing:
                yield from self._written(actor, wish, int(payload.get("max_tokens") or SHORT_ANSWER))
        yield {"done": True, "run_seconds": round(time.perf_counter() - started, 5)}

    def _writes(self, actor: Actor, wish: Wish) -> bool:
        try:
            return self.speaker.writes(wish, actor)
        except (CannotAnswer, RuntimeFault):
            return False  # run() says in its answer why

    def _written(self, actor: Actor, wish: Wish, most: int) -> Iterator[dict[str, Any]]:
        whole = ""
        try:
            said = self.speaker.text(actor, wish, [{"role": "user", "content": wish.text}], most=min(most, MOST_TOKENS))
            for piece, why in said:
                if why is None:
                    whole += piece
                    yield {"row": wish.row, "repo": wish.repo.full_name, "text": piece}
        except (CannotAnswer, RuntimeFault) as error:
            yield {"row": wish.row, "answer": {**wish.told, "error": str(error)}}
            return
        yield {"row": wish.row, "answer": {**wish.told, "text": whole}}

    def _plan(self, actor: Actor, payload: dict[str, Any]) -> _Plan:
        apply = str(payload.get("apply") or "best")
        if apply not in APPLY:
            raise CannotAnswer(f"There is no way to apply called '{apply[:40]}'. Known: {', '.join(APPLY)}.")
        texts = checked(payload.get("texts"))
        model = named.find(str(payload.get("model") or ""), actor)
        if isinstance(model, named.Single):
            if apply == "soft":
                raise CannotAnswer("One specialist has nothing to be blended with. Leave `apply` out.")
            wishes = [
                Wish(row, text, model.repo, model.sha, head_for(self.chooser, actor, model.repo, model.sha, text))
                for row, text in enumerate(texts)
            ]
            return _Plan(texts, wishes, None, "best", model.repo.full_name)
        routed = self.chooser.route(actor, payload, model)
        wishes = [
            Wish(row, texts[row], routed.candidates[choice.name].repo, routed.candidates[choice.name].sha)
            for row, decision in enumerate(routed.decisions)
            for choice in (decision.choices[: 1 if apply == "best" else None] if not decision.none else ())
        ]
        return _Plan(texts, wishes, routed, apply, model.repo.full_name if model else named.ROUTER)

    def _spoken(self, actor: Actor, plan: _Plan) -> dict[int, list[dict[str, Any]]]:
        spoken: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for wish, result in zip(plan.wishes, self.speaker.run(actor, plan.wishes), strict=True):
            spoken[wish.row].append(result)
        return spoken

    def _soft(self, actor: Actor, plan: _Plan) -> dict[int, list[dict[str, Any]]]:
        """The top choices' weights averaged by their shares, per input; only of those with the first one's labels."""
        spoken: dict[int, list[dict[str, Any]]] = {}
        routed = plan.routed
        assert routed is not None
        residents = self.speaker.residents
        for row, decision in enumerate(routed.decisions):
            if decision.none:
                continue
            first = routed.candidates[decision.choices[0].name]
            home = residents.base(*residents.base_of(first.repo, first.sha, actor))
            with home.lock:
                spoken[row] = [self._blended(home, actor, plan.texts[row], decision.choices, routed)]
        return spoken

    def _blended(
        self, home: Resident, actor: Actor, text: str, choices: tuple[Choice, ...], routed: Routed
    ) -> dict[str, Any]:
        parts: list[AdapterFiles] = []
        weights: list[float] = []
        names: list[str] = []
        residents = self.speaker.residents
        for choice in choices:
            candidate = routed.candidates[choice.name]
            same = residents.base_of(candidate.repo, candidate.sha, actor) == (home.repo, home.sha)
            name = residents.adapter(home, candidate.repo, candidate.sha) if same else None
            files = home.files[name] if name is not None else None
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
