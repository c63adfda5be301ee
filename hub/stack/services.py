"""The embedded services alone (database, broker, store), for commands and tests that need no web server."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from hub.stack import environment, locks
from hub.stack.postgres import Postgres
from hub.stack.process import Command, Process, StackError, recorded, sweep
from hub.stack.seaweed import Seaweed
from hub.stack.valkey import Valkey

START_SECONDS = 60.0


class Part(Protocol):
    """One process of the stack, as the supervisor sees it."""

    name: str

    def prepare(self) -> None:
        """Make what it needs on disk; quick when it is there already."""

    def command(self) -> Command:
        """What to start."""

    def answers(self) -> bool:
        """Whether it serves."""

    def speaks(self, line: str) -> bool:
        """Whether a line of its log is worth a reader's time."""


def embedded(state: Path, values: dict[str, str], *, durable: bool = True) -> list[Part]:
    """The services that are ours to run, in the order to start them: those not given from outside."""
    parts: list[Postgres | Valkey | Seaweed] = [
        Postgres(state, values, durable=durable),
        Valkey(state, values),
        Seaweed(state, values),
    ]
    return [part for part in parts if environment.is_embedded(part.variable, values)]


@contextmanager
def services(state: Path, *, keep: bool = False, durable: bool = True) -> Iterator[Mapping[str, str]]:
    """Have the embedded services of a state folder running inside the block; yields the folder's variables.

    What runs already (the hub is up, or an earlier block kept it) is used and left alone. With `keep` what is started
    here stays for later blocks. Raises StackError when a service does not answer in a minute.
    """
    values = environment.ensure(state)
    parts = embedded(state, values, durable=durable)
    try:
        with locks.held(state, {"role": "services"}):
            started = _start_missing(state, parts, keep=keep)
            try:
                if not keep:
                    yield values
            finally:
                if not keep:
                    _stop(started)
        if keep:
            yield values
    except locks.HeldError as error:
        if error.holder.get("role") == "up":
            wait_for(parts)
            yield values
        else:
            yield from _after_the_others(state, keep=keep, durable=durable)


@contextmanager
def available() -> Iterator[None]:
    """For management commands: whatever is embedded runs inside the block and the database is migrated.

    Does nothing but yield when the hub is up, or when every service was given from outside.
    """
    from hub.stack.beginning import begin

    state = Path(os.environ["TESSERA_STATE"])
    values = environment.read(state)
    if not any(environment.is_embedded(name, values) for name in environment.GROUPS):
        yield
        return
    with services(state):
        begin()
        yield


def wait_for(parts: list[Part], seconds: float = START_SECONDS) -> None:
    """Return when all parts answer; raises StackError naming those that do not."""
    deadline = time.monotonic() + seconds
    waiting = list(parts)
    while waiting := [part for part in waiting if not part.answers()]:
        if time.monotonic() > deadline:
            names = ", ".join(part.name for part in waiting)
            raise StackError(f"No answer from {names} within {seconds:.0f} s; look into the state folder's logs/.")
        time.sleep(0.05)


def _after_the_others(state: Path, *, keep: bool, durable: bool) -> Iterator[Mapping[str, str]]:
    """Wait for another command's block on the same folder to end, then do ours."""
    with locks.held(state, {"role": "services"}, wait=True):
        pass
    with services(state, keep=keep, durable=durable) as values:
        yield values


def _start_missing(state: Path, parts: list[Part], *, keep: bool) -> list[Process]:
    missing = [part for part in parts if recorded(state, part.name) is None or not part.answers()]
    started = []
    try:
        for part in missing:
            part.prepare()
            started.append(Process(part.command(), state, keep=keep))
        wait_for(missing)
    except BaseException:
        _stop(started)
        raise
    return started


def _stop(processes: list[Process]) -> None:
    for process in reversed(processes):
        process.ask_to_stop()
    for process in reversed(processes):
        process.stop()


def stop_kept(state: Path) -> list[str]:
    """Stop services that a `keep` block left running; returns their names."""
    with locks.held(state, {"role": "services"}):
        return sweep(state)
