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
from adapters.routing.declaration import Choice, Decision
from adapters.routing.surest import close, surest
from adapters.runtime.adapter_files import AdapterFiles
from adapters.runtime.blending import blend
from adapters.runtime.errors import RuntimeFault
from hub.accounts.actor import Actor

APPLY = ("surest", "best", "each", "soft")
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
        ("surest" of two when it is close, "best", "each" of the top, "soft"), max_tokens; with `stream` in parts.

        A System answers with its "best" unless told otherwise, as its releases are measured; the hub's router with the
        surest.

        Raises CannotAnswer, RoutingFault.
        """
        if payload.get("stream"):
            return self.parts(actor, payload)
        plan = self._plan(actor, payload)
        started = time.perf_counter()
        spoken = self._soft(actor, plan) if plan.apply == "soft" else self._said(actor, plan, plan.wishes)
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
            for row, said in self._said(actor, plan, others).items():
                for answer in said if plan.apply != "surest" else said[:1]:
                    yield {"row": row, "answer": answer}
            spoken = {wish.row for wish in others}
            for wish in writing:
                if plan.apply == "surest" and wish.row in spoken:
                    continue
                spoken.add(wish.row)
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
        texts = checked(payload.get("texts"))
        model = named.find(str(payload.get("model") or ""), actor)
        apply = str(payload.get("apply") or ("surest" if model is None else "best"))
        if apply not in APPLY:
            raise CannotAnswer(f"There is no way to apply called '{apply[:40]}'. Known: {', '.join(APPLY)}.")
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
            Wish(
                row,
                texts[row],
                chosen.repo,
                chosen.sha,
                head_for(self.chooser, actor, chosen.repo, chosen.sha, texts[row]),
                choice.score,
            )
            for row, decision in enumerate(routed.decisions)
            for choice in asked(decision, apply)
            for chosen in (routed.candidates[choice.name],)
        ]
        return _Plan(texts, wishes, routed, apply, model.repo.full_name if model else named.ROUTER)

    def _said(self, actor: Actor, plan: _Plan, wishes: list[Wish]) -> dict[int, list[dict[str, Any]]]:
        """What specialists say of each input; of two that are close the surer one alone."""
        rows: dict[int, list[tuple[Wish, dict[str, Any]]]] = defaultdict(list)
        for wish, result in zip(wishes, self.speaker.run(actor, wishes, sure=plan.apply == "surest"), strict=True):
            rows[wish.row].append((wish, result))
        if plan.apply != "surest":
            return {row: [result for _, result in said] for row, said in rows.items()}
        return {row: [winner(said)] for row, said in rows.items()}

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
        why = "None of the specialists chosen can be run."
        for choice in choices:
            candidate = routed.candidates[choice.name]
            try:
                same = residents.base_of(candidate.repo, candidate.sha, actor) == (home.repo, home.sha)
                name = residents.adapter(home, candidate.repo, candidate.sha) if same else None
            except (CannotAnswer, RuntimeFault) as error:  # the others still can be blended
                why = str(error)
                continue
            files = home.files[name] if name is not None else None
            if files is not None and (not parts or files.labels == parts[0].labels):
                parts.append(files)
                weights.append(choice.share)
                names.append(candidate.repo.full_name)
        if not parts:
            return {"repo": routed.candidates[choices[0].name].repo.full_name, "error": why}
        total = sum(weights)
        shares = [weight / total for weight in weights]
        told = {
            "repo": names[0],
            "blend": [{"repo": n, "weight": round(w, 4)} for n, w in zip(names, shares, strict=True)],
        }
        try:
            made = blend(parts, shares)
            if not home.mixed.add("blend", made):
                raise RuntimeFault("These specialists cannot be averaged on their base. Use one of them.")
            try:
                logits = home.mixed.logits([text], ["blend"])[0]
            finally:
                home.mixed.remove("blend")
        except RuntimeFault as error:
            return {**told, "error": str(error)}
        return {**told, **labelled(logits, made.labels)}


def asked(decision: Decision, apply: str) -> tuple[Choice, ...]:
    """Who is asked about one input: nobody where nothing fits."""
    if decision.none:
        return ()
    if apply == "surest":
        return decision.choices[: close([choice.score for choice in decision.choices])]
    return decision.choices[:1] if apply == "best" else decision.choices


def winner(said: list[tuple[Wish, dict[str, Any]]]) -> dict[str, Any]:
    """What the surest said; `instead_of` names the nearest one where another was surer."""
    place = surest([wish.score for wish, _ in said], [result.get("sure") for _, result in said])
    result = said[place][1]
    return result | {"instead_of": said[0][0].repo.full_name} if place else result
