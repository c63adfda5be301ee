"""What the worker can be asked, by kind; made once when it starts, since it loads the encoder."""

from __future__ import annotations

from typing import Any

from adapters.answering.chatting import Chatter
from adapters.answering.choosing import Chooser, checked
from adapters.answering.predicting import Predictor
from adapters.answering.residents import Residents
from adapters.answering.shelf import Shelf
from adapters.answering.speaking import Speaker
from adapters.answering.worker import Handler, Worker
from adapters.embeddings import methods, question, texts
from adapters.embeddings.updates import sketch
from hub.accounts.actor import Actor


def make_worker() -> Worker:
    """A worker with every handler and its description of itself. Raises NoEncoder, RuntimeFault."""
    shelf, residents = Shelf(), Residents()
    chooser = Chooser(shelf, residents)
    speaker = Speaker(residents)
    predictor, chatter = Predictor(chooser, speaker), Chatter(chooser, speaker)

    def encode(_actor: Actor, payload: dict[str, Any]) -> dict[str, Any]:
        rows = shelf.encode(checked(payload.get("texts")))
        made: dict[str, Any] = {"vectors": rounded(rows), "probe": shelf.identity, "version": texts.METHOD.version}
        if payload.get("labels"):
            head = question.fit_head(rows, list(payload["labels"]))
            made |= {"head": rounded(head), "question": sketch(question.operator(head)).tolist()}
            made["question_version"] = question.METHOD.version
        return made

    handlers: dict[str, Handler] = {
        "route": chooser.answer, "predict": predictor.answer, "chat": chatter.answer, "encode": encode,
    }  # fmt: skip
    return Worker(handlers, described(shelf, chooser))


def rounded(rows: Any) -> list[list[float]]:
    """Rows of numbers as JSON carries them."""
    return [[round(float(value), 6) for value in row] for row in rows]


def described(shelf: Shelf, chooser: Chooser) -> dict[str, Any]:
    """What forms, the API and docs say of the encoder, the embedding methods and the routers."""
    return {
        "encoder": shelf.identity, "width": shelf.profiles.width, "version": texts.METHOD.version,
        "device": str(shelf.runtime.device),
        "methods": [
            {"name": method.name, "title": method.title, "question": method.question, "summary": method.summary,
             "needs": list(method.needs), "probe": method.probe, "version": method.version, "error": method.error,
             "reference": f"{method.reference.authors} {method.reference.year}", "url": method.reference.url}
            for method in methods().values()
        ],
        "routers": [
            {"name": router.name, "title": router.title, "summary": router.summary, "needs": list(router.needs),
             "training": router.training, "url": router.reference.url,
             "reference": f"{router.reference.authors} {router.reference.year}",
             "parameters": [{"name": item.name, "default": item.default, "minimum": item.minimum,
                             "maximum": item.maximum, "help": item.help} for item in router.parameters]}
            for router in chooser.routers.values()
        ],
    }  # fmt: skip
