"""Which function runs which kind of job. Higher rooms register theirs in `apps.py` by import path, so that web
processes never import what only workers need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from hub.jobs.limits import Limits
from hub.jobs.models import Job, Queue
from hub.jobs.running import Running

Handler = Callable[[Running], dict[str, Any]]
MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class JobKind:
    """A kind of work: its name, the queue it waits in, and where its function is (`package.module:function`).

    `failed` is where a function of the job is that hears of a job that was given up, also when its worker was lost.
    With `limits` a worker does it in a process of its own, which cannot have more.
    """

    name: str
    handler: str
    queue: str = Queue.FAST
    failed: str = ""
    limits: Limits | None = None

    def load(self) -> Handler:
        """Import the function that does the work."""
        module, _, function = self.handler.partition(":")
        loaded: Handler = getattr(import_module(module), function)
        return loaded

    def tell_failed(self, job: Job) -> None:
        """Tell whoever wants to hear that a job was given up."""
        if self.failed:
            module, _, function = self.failed.partition(":")
            getattr(import_module(module), function)(job)


_kinds: dict[str, JobKind] = {}


def register(kind: JobKind) -> None:
    """Make a kind of job known."""
    _kinds[kind.name] = kind


def kind_named(name: str) -> JobKind:
    """The kind of that name. Raises KeyError."""
    return _kinds[name]


def known_kinds() -> list[JobKind]:
    """Every kind that was made known."""
    return list(_kinds.values())
