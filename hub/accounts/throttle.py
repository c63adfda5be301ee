"""Rate limits: so many requests of one kind in a window of five minutes, counted in the cache for all processes."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse

from hub.accounts.actor import Actor

WINDOW = 300
"""Seconds."""

RATES = {"api": 3000, "resolve": 10_000, "write": 1000}
"""Requests a window for somebody signed in; nobody in particular gets a fifth, by address."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Allowance:
    """What is left of a limit: `remaining` requests until `reset` seconds from now."""

    kind: str
    limit: int
    remaining: int
    reset: int
    exceeded: bool


def take(request: HttpRequest, actor: Actor, kind: str) -> Allowance | None:
    """Count one request. None if limits are off or the cache does not answer: then everybody may go on."""
    if not settings.RATE_LIMITS:
        return None
    limit = RATES[kind] if actor.account else RATES[kind] // 5
    who = f"account:{actor.account.pk}" if actor.account else f"address:{request.META.get('REMOTE_ADDR', '')}"
    window, passed = divmod(int(time.time()), WINDOW)
    key = f"rate:{kind}:{who}:{window}"
    try:
        cache.add(key, 0, WINDOW * 2)
        used = cache.incr(key)
    except Exception:  # whatever backend is configured has its own errors; a limit is no reason to be down
        log.warning("The cache does not answer; rate limits are not counted.")
        return None
    return Allowance(kind, limit, max(0, limit - used), WINDOW - passed, used > limit)


def describe(response: HttpResponse, allowance: Allowance) -> None:
    """Say in the answer what is left, in the headers that the Hub client reads before it waits."""
    response["RateLimit"] = f'"{allowance.kind}";r={allowance.remaining};t={allowance.reset}'
    response["RateLimit-Policy"] = f'"fixed window";"{allowance.kind}";q={allowance.limit};w={WINDOW}'
    if allowance.exceeded:
        response["Retry-After"] = str(allowance.reset)
