"""Asks of the kind `chat`: a conversation for one adapter, merge or base, for a System, or for the hub's router."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adapters.answering import named
from adapters.answering.choosing import Chooser, Routed, checked
from adapters.answering.heads import head_for
from adapters.answering.line import CannotAnswer
from adapters.answering.predicting import asked as asked_of
from adapters.answering.speaking import Speaker, Wish
from adapters.routing.surest import surest
from adapters.runtime.generating import MOST_TOKENS, prompt_ids
from hub.accounts.actor import Actor

NOTHING_FITS = "No specialist {} fits this input."


class Chatter:
    """Answers conversations, in parts: {"model": …} first, then {"text": …}, at last {"end": why, "usage": …}."""

    def __init__(self, chooser: Chooser, speaker: Speaker) -> None:
        self.chooser, self.speaker = chooser, speaker

    def answer(self, actor: Actor, payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """{model, messages, max_tokens?, temperature?, top_p?, seed?, hint?, labels?}. Raises CannotAnswer."""
        messages = payload["messages"]
        asked = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
        text = checked([asked])[0]
        model, why = named.find(str(payload.get("model") or ""), actor), []
        if isinstance(model, named.Single):
            repo, sha = model.repo, model.sha
            wish = Wish(0, text, repo, sha, head_for(self.chooser, actor, repo, sha, text))
        else:
            routed = self.chooser.route(actor, {**payload, "texts": [text]}, model)
            told = self.chooser.described(routed.decisions[0], routed)
            why = told["choices"]
            if told["none"]:
                of = f"of {model.repo.full_name}" if model else "on this hub"
                yield {"model": model.repo.full_name if model else named.ROUTER, "why": why, "none": True}
                yield {"text": NOTHING_FITS.format(of)}
                yield {"end": "stop", "usage": [0, 0]}
                return
            wish = self._chosen(actor, text, routed, "surest" if model is None else "best")
        said = self._said(actor, wish, payload)
        first = next(said)  # what cannot be said is refused before anything is told
        yield {"model": wish.repo.full_name, "sha": wish.sha, "why": why}
        yield first
        yield from said

    def _chosen(self, actor: Actor, text: str, routed: Routed, apply: str) -> Wish:
        wishes = [
            Wish(
                0,
                text,
                chosen.repo,
                chosen.sha,
                head_for(self.chooser, actor, chosen.repo, chosen.sha, text),
                choice.score,
            )
            for choice in asked_of(routed.decisions[0], apply)
            for chosen in (routed.candidates[choice.name],)
        ]
        if len(wishes) == 1 or any(self.speaker.writes(wish, actor) for wish in wishes):
            return wishes[0]
        said = self.speaker.run(actor, wishes, sure=True)
        return wishes[surest([wish.score for wish in wishes], [result.get("sure") for result in said])]

    def _said(self, actor: Actor, wish: Wish, payload: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if not self.speaker.writes(wish, actor):
            found = self.speaker.run(actor, [wish])[0]
            if "error" in found:
                raise CannotAnswer(found["error"])
            yield {"text": found["label"], "labels": found["labels"]}
            yield {"end": "stop", "usage": [0, 0]}
            return
        home, _name = self.speaker.home(wish, actor)
        count, made = len(prompt_ids(home.runtime, payload["messages"])), 0
        for part, why in self.speaker.text(
            actor, wish, payload["messages"],
            most=min(MOST_TOKENS, int(payload.get("max_tokens") or 128)),
            temperature=float(payload.get("temperature") or 0.0), top_p=float(payload.get("top_p") or 1.0),
            seed=int(payload.get("seed") or 0),
        ):  # fmt: skip
            if why is None:
                made += 1
                yield {"text": part}
            else:
                yield {"end": why, "usage": [count, made]}
