"""The worker's end of the line: takes asks, finds out who asks, does them one after the other, and says it is alive.

Two threads: `quick` routes and classifies, `slow` continues texts, so that a long answer holds up no short one.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import redis
from django.db import close_old_connections

from adapters.answering import line
from adapters.answering.line import ABOUT, ALIVE, ALIVE_SECONDS, ANSWER, ASKS, GONE, KEPT_SECONDS, CannotAnswer
from adapters.embeddings.declaration import EmbeddingFault
from adapters.routing.declaration import RoutingFault
from adapters.runtime.errors import RuntimeFault
from hub.accounts.actor import NOBODY, Actor
from hub.accounts.models import Account, Token
from hub.store.objects import StoreError

log = logging.getLogger(__name__)
Handler = Callable[[Actor, dict[str, Any]], Any]
REFUSALS = (CannotAnswer, EmbeddingFault, RoutingFault, RuntimeFault)


class Worker:
    """Serves both lines until stopped."""

    def __init__(self, handlers: dict[str, Handler], about: dict[str, Any]) -> None:
        """`handlers` by kind; one that returns an iterator answers in parts."""
        self.handlers, self.about = handlers, about
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads and announce the worker."""
        line.broker().set(ABOUT, json.dumps(self.about))
        self._announce()
        for name, work in (("quick", self._serve), ("slow", self._serve), ("alive", self._beat)):
            thread = threading.Thread(target=work, args=(name,), name=f"answer-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End after the asks in hand."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(timeout=10)
        line.broker().delete(ALIVE)

    def _announce(self) -> None:
        line.broker().set(ALIVE, 1, ex=ALIVE_SECONDS)

    def _beat(self, _name: str) -> None:
        while not self.stopping.wait(ALIVE_SECONDS / 3):
            try:
                self._announce()
            except redis.RedisError:
                log.warning("The broker does not answer.")

    def _serve(self, name: str) -> None:
        while not self.stopping.is_set():
            try:
                got = line.broker().brpop([ASKS.format(name)], timeout=1)
            except redis.RedisError:
                self.stopping.wait(1)
                continue
            if got is not None:
                close_old_connections()
                self.do(json.loads(got[1]))
                close_old_connections()

    def do(self, asked: dict[str, Any]) -> None:
        """Do one ask and answer it, unless nobody waits for it any more. Never raises for what the ask does."""
        if asked["until"] < time.time():
            return
        try:
            handler = self.handlers[asked["kind"]]
            made = handler(actor_of(asked["actor"]), asked["payload"])
            if isinstance(made, Iterator):
                for part in made:
                    self._say(asked, {"part": part})
                    if line.broker().exists(GONE.format(asked["id"])):
                        return
                self._say(asked, {"end": True})
            else:
                self._say(asked, {"part": made, "end": True})
        except REFUSALS as error:
            self._say(asked, {"error": str(error), "end": True})
        except StoreError as error:
            self._say(asked, {"fault": str(error), "end": True})
        except Exception:
            log.exception("an ask of kind %s failed", asked.get("kind"))
            self._say(asked, {"fault": "The inference worker failed on this question; the log says why.", "end": True})

    def _say(self, asked: dict[str, Any], part: dict[str, Any]) -> None:
        key = ANSWER.format(asked["id"])
        with line.broker().pipeline() as pipe:
            pipe.rpush(key, json.dumps(part))
            pipe.expire(key, KEPT_SECONDS)
            pipe.execute()


def actor_of(who: dict[str, Any]) -> Actor:
    """The actor with the rights of this moment: a closed account or revoked token since then is nobody."""
    if who.get("account") is None:
        return NOBODY
    account = Account.objects.filter(pk=who["account"], is_active=True).first()
    token = Token.objects.filter(pk=who["token"], revoked_at=None).first() if who.get("token") else None
    if account is None or (who.get("token") and token is None):
        return NOBODY
    return Actor(account=account, token=token)
