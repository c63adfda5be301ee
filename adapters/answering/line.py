"""The line between web processes and the inference worker: lists in the broker, one for asks, one for each answer.

An ask carries its deadline, so that what nobody waits for any more is not worked on. An answer comes in parts.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, Literal

import redis
from django.conf import settings

from hub.accounts.actor import Actor

Line = Literal["quick", "slow"]
ASKS = "tessera:asks:{}"
ANSWER = "tessera:answer:{}"
GONE = "tessera:gone:{}"
ALIVE = "tessera:answering"
ABOUT = "tessera:answering:about"
ALIVE_SECONDS = 15
KEPT_SECONDS = 120
LONGEST_LINE = 500
WAIT_SECONDS, SOCKET_SECONDS = 5.0, 15.0
"""One wait for a part must end before the client thinks that the broker is gone."""


class NobodyAnswers(Exception):
    """No inference worker is there, or it did not answer in time."""


class CannotAnswer(ValueError):
    """The worker refused; the message says what was wrong with the question."""


@lru_cache(maxsize=1)
def broker() -> Any:
    """The broker's client of this process."""
    return redis.Redis.from_url(
        settings.CELERY_BROKER_URL, socket_connect_timeout=3, socket_timeout=SOCKET_SECONDS, health_check_interval=30
    )


def ask(kind: str, actor: Actor, payload: dict[str, Any], *, seconds: float = 60.0, line: Line = "quick") -> Any:
    """Ask and wait for the whole answer. Raises NobodyAnswers, CannotAnswer."""
    result: Any = None
    for part in stream(kind, actor, payload, seconds=seconds, line=line):
        result = part
    return result


def stream(
    kind: str, actor: Actor, payload: dict[str, Any], *, seconds: float = 120.0, line: Line = "quick"
) -> Iterator[Any]:
    """Ask and yield the parts of the answer as they come. Raises NobodyAnswers, CannotAnswer."""
    connection = _connected()
    name = uuid.uuid4().hex
    until = time.time() + seconds
    who = {"account": actor.account.pk if actor.account else None, "token": actor.token.pk if actor.token else None}
    asked = {"id": name, "kind": kind, "actor": who, "payload": payload, "until": until}
    if connection.llen(ASKS.format(line)) >= LONGEST_LINE:
        raise NobodyAnswers("Too many questions wait already. Try again in a minute.")
    connection.lpush(ASKS.format(line), json.dumps(asked))
    ended = False
    try:
        while not ended:
            left = until - time.time()
            wait = max(0.1, min(left, WAIT_SECONDS))
            got = connection.blpop([ANSWER.format(name)], timeout=wait) if left > 0 else None
            if got is None:
                if left <= WAIT_SECONDS or not connection.exists(ALIVE):
                    raise NobodyAnswers("The inference worker did not answer in time. Try again with fewer inputs.")
                continue
            part = json.loads(got[1])
            if "error" in part:
                raise CannotAnswer(part["error"])
            if "fault" in part:
                raise NobodyAnswers(part["fault"])
            ended = bool(part.get("end"))
            if "part" in part:
                yield part["part"]
    except redis.RedisError as error:
        raise NobodyAnswers("The broker went away before the answer came. Try again in a minute.") from error
    finally:
        if not ended:
            with suppress(redis.RedisError):
                connection.set(GONE.format(name), 1, ex=KEPT_SECONDS)


def about() -> dict[str, Any] | None:
    """What the worker says of itself (encoder, embedding methods, routers); None while none ever ran."""
    try:
        found = broker().get(ABOUT)
    except redis.RedisError:
        return None
    return dict(json.loads(found)) if found else None


def _connected() -> Any:
    connection = broker()
    try:
        alive = connection.exists(ALIVE)
    except redis.RedisError as error:
        raise NobodyAnswers("The broker does not answer, so no specialist can be asked. Try again later.") from error
    if not alive:
        raise NobodyAnswers(
            "No inference worker is running. It starts with `manage.py up`; on its own with `manage.py answer`."
        )
    return connection
