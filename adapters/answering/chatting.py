"""Asks of the kind `chat`: a conversation for one adapter, merge or base, or for whichever the router chooses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adapters.answering.choosing import Chooser, checked
from adapters.answering.line import CannotAnswer
from adapters.answering.predicting import Predictor, Wish
from adapters.answering.residents import Residents
from adapters.runtime.generating import MOST_TOKENS, generate, prompt_ids
from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.models import Kind, Repo

ROUTER = "router"
NOTHING_FITS = "No specialist on this hub fits this input."


class Chatter:
    """Answers conversations, in parts: {"model": …} first, then {"text": …}, at last {"end": why, "usage": …}."""

    def __init__(self, chooser: Chooser, predictor: Predictor, residents: Residents) -> None:
        self.chooser, self.predictor, self.residents = chooser, predictor, residents

    def answer(self, actor: Actor, payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """{model, messages, max_tokens?, temperature?, top_p?, seed?, hint?, labels?}. Raises CannotAnswer."""
        messages = payload["messages"]
        asked = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
        text = checked([asked])[0]
        model, why = str(payload.get("model") or ROUTER), []
        if model == ROUTER:
            routed = self.chooser.route(actor, {**payload, "texts": [text]})
            told = self.chooser.described(routed.decisions[0], routed.candidates)
            why = told["choices"]
            if told["none"]:
                yield {"model": ROUTER, "why": why, "none": True}
                yield {"text": NOTHING_FITS}
                yield {"end": "stop", "usage": [0, 0]}
                return
            chosen = routed.candidates[routed.decisions[0].choices[0].name]
            repo, sha = chosen.repo, chosen.sha
        else:
            repo, sha = self._named(model, actor)
        yield {"model": repo.full_name, "sha": sha, "why": why}
        yield from self._said(actor, repo, sha, text, payload)

    def _named(self, name: str, actor: Actor) -> tuple[Repo, str]:
        plain, _, revision = name.partition("@")
        repos = Repo.objects.models().with_id(plain if plain.count("/") == 1 else "/").visible_to(actor)
        repo = repos.select_related("owner").first()
        if repo is None or not repo.head:
            raise CannotAnswer(f"There is no model '{name[:200]}' that you may read. GET /v1/models lists them.")
        try:
            return repo, trees.resolve_commit(repo, revision or None).sha
        except trees.RevisionNotFound as error:
            raise CannotAnswer(str(error)) from error

    def _said(
        self, actor: Actor, repo: Repo, sha: str, text: str, payload: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        is_base = repo.kind == Kind.BASE
        home = self.residents.base(*((repo, sha) if is_base else self.residents.base_of(repo, sha, actor)))
        if home.runtime.task == "classify":
            if is_base:
                raise CannotAnswer(f"{repo.full_name} is an encoder without a head; ask one of its adapters.")
            head = self._head(actor, repo, sha, text)
            found = self.predictor.run(actor, [Wish(0, text, repo, sha, head)])[0]
            if "error" in found:
                raise CannotAnswer(found["error"])
            yield {"text": found["label"], "labels": found["labels"]}
            yield {"end": "stop", "usage": [0, 0]}
            return
        with home.lock:
            adapter = None
            if not is_base:
                adapter = self.residents.adapter(home, repo, sha)
            count = len(prompt_ids(home.runtime, payload["messages"]))
            made = 0
            for part, why in generate(
                home.runtime, payload["messages"], adapter=adapter,
                most=min(MOST_TOKENS, int(payload.get("max_tokens") or 128)),
                temperature=float(payload.get("temperature") or 0.0), top_p=float(payload.get("top_p") or 1.0),
                seed=int(payload.get("seed") or 0),
            ):  # fmt: skip
                if why is None:
                    made += 1
                    yield {"text": part}
                else:
                    yield {"end": why, "usage": [count, made]}

    def _head(self, actor: Actor, repo: Repo, sha: str, text: str) -> str:
        """For a merge that keeps its parents' heads: the head of the parent that the router chooses for the text."""
        commit = trees.resolve_commit(repo, sha)
        paths = trees.flatten(repo, commit.tree)
        heads = [
            path[len("heads/") : -len(".safetensors")]
            for path in paths
            if path.startswith("heads/") and path.endswith(".safetensors")
        ]
        if len(heads) < 2:
            return heads[0] if heads else ""
        parents = {}
        for head in heads:
            name = head.replace("--", "/", 1)
            parent = Repo.objects.models().with_id(name).visible_to(actor).first() if name.count("/") == 1 else None
            if parent is not None:
                parents[str(parent.pk)] = head
        if parents:
            routed = self.chooser.route(actor, {"texts": [text], "only": list(parents)})
            if routed.decisions[0].choices:
                return parents[routed.decisions[0].choices[0].name]
        return heads[0]
