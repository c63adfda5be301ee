"""Starts every part in order, waits until all answer, restarts what dies, and stops what it started."""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from hub.stack import environment, locks
from hub.stack.beginning import begin
from hub.stack.console import Console
from hub.stack.process import Process, StackError, sweep
from hub.stack.relay import Relay
from hub.stack.services import Part, embedded
from hub.stack.web import Web
from hub.stack.workers import Answerer, Beat, workers

START_SECONDS = 90.0
BACKOFF = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_SECONDS = 60.0
"""A part that ran this long is well again: its next restart is quick."""
STARTING_TRIES = 3
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Place:
    """One part in the supervisor's care."""

    part: Part
    process: Process | None = None
    failures: int = 0
    start_at: float = 0.0


class Stopped(Exception):
    """Somebody asked us to stop while we were starting."""


class Supervisor:
    """Runs the hub of one state folder in this process's main thread."""

    def __init__(
        self,
        state: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        web_workers: int = 2,
        console: Console | None = None,
    ) -> None:
        self.state, self.host, self.port = state, host, port
        self.console = console or Console()
        self.url = os.environ.get("PUBLIC_URL", f"http://{host}:{port}")
        self.web = Web(host, port, web_workers)
        self._places: list[Place] = []
        self._stop = threading.Event()

    def run(self, on_ready: Callable[[], None] | None = None, *, exit_after: bool = False) -> int:
        """Serve until asked to stop; returns the exit status.

        `on_ready` runs in a thread of its own once everything answers, with the logs quiet; with `exit_after` the hub
        stops when it returns, and an exception in it stops the hub with status 1.
        Raises StackError when another hub holds the folder, a port is taken or a part does not come up.
        """
        try:
            with locks.held(self.state, {"role": "up", "url": self.url}):
                return self._run(on_ready, exit_after)
        except locks.HeldError as error:
            raise StackError(_in_use(self.state, error)) from error

    def stop(self) -> None:
        """Ask the hub to stop; callable from any thread."""
        self._stop.set()

    def _run(self, on_ready: Callable[[], None] | None, exit_after: bool) -> int:
        if not environment.port_is_free(self.port, self.host):
            raise StackError(f"Port {self.port} of {self.host} is taken: choose another with --port.")
        for name in sweep(self.state):
            self.console.say(f"{name} of an earlier start was still running; stopped it")
        previous = {number: signal.signal(number, self._asked) for number in STOP_SIGNALS}
        try:
            self._start_all()
            return self._watch(on_ready, exit_after)
        except Stopped:
            return 0
        finally:
            self._stop_all()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()

    def _start_all(self) -> None:
        began = time.monotonic()
        values = environment.ensure(self.state)
        self._bring_up(embedded(self.state, values))
        begin(self.console.say)
        self._bring_up([self.web, *workers(), Beat(self.state), Answerer(), *self._doors(values)])
        status = self.web.status() or 0
        if status >= 500:
            self.console.say(f"the front page answers {status}: look at the log of 'web'")
        self.console.say(f"Tessera is ready at {self.url} after {time.monotonic() - began:.1f} s. Ctrl-C stops it.")

    def _doors(self, values: dict[str, str]) -> list[Part]:
        """What opens the embedded store to other machines, when the hub itself is open to them."""
        if environment.is_loopback(self.host) or not environment.is_embedded("S3_ENDPOINT_URL", values):
            return []
        return [Relay(self.host, int(values["RELAY_PORT"]), int(values["S3_PORT"]))]

    def _bring_up(self, parts: list[Part]) -> None:
        """Start these parts together and return when all answer."""
        places = [Place(part) for part in parts]
        for place in places:
            self.console.say(f"starting {place.part.name}")
            place.part.prepare()
            self._places.append(place)
            self._start(place)
        deadline = time.monotonic() + START_SECONDS
        waiting = places
        while waiting := [place for place in waiting if not place.part.answers()]:
            self._tend()
            for place in waiting:
                if place.failures >= STARTING_TRIES or time.monotonic() > deadline:
                    raise StackError(
                        f"{place.part.name} does not come up. Its last lines:\n{self.console.last(place.part.name)}"
                    )
            self._pause(0.05)

    def _watch(self, on_ready: Callable[[], None] | None, exit_after: bool) -> int:
        outcome: list[int] = []
        if on_ready:
            self.console.quiet = True
            threading.Thread(target=self._call, args=(on_ready, outcome), daemon=True).start()
        reported = on_ready is None
        while not self._stop.is_set():
            self._tend()
            if outcome and not reported:
                reported, self.console.quiet = True, False
                if outcome[0] or exit_after:
                    return outcome[0]
                self.console.say(f"serving at {self.url}. Ctrl-C stops it.")
            self._stop.wait(0.2)
        return 0

    def _call(self, on_ready: Callable[[], None], outcome: list[int]) -> None:
        try:
            on_ready()
        except BaseException:
            self.console.say(traceback.format_exc())
            outcome.append(1)
        else:
            outcome.append(0)

    def _tend(self) -> None:
        """Notice parts that ended; start them again when their pause is over."""
        now = time.monotonic()
        for place in self._places:
            if place.process and (code := place.process.exit_code()) is not None:
                if now - place.process.started > STEADY_SECONDS:
                    place.failures = 0
                pause = BACKOFF[min(place.failures, len(BACKOFF) - 1)]
                place.process.stop()
                place.process, place.start_at, place.failures = None, now + pause, place.failures + 1
                self.console.say(f"{place.part.name} ended {_how(code)}; starting it again in {pause:g} s")
            if place.process is None and now >= place.start_at:
                self._start(place)

    def _start(self, place: Place) -> None:
        part = place.part
        place.process = Process(
            part.command(), self.state, lambda line: self.console.hear(part.name, line, show=part.speaks(line))
        )

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped

    def _stop_all(self) -> None:
        """Stop in the reverse order: those who write before those they write to."""
        running = [place for place in reversed(self._places) if place.process]
        if running:
            self.console.say("stopping")
        ours = [place.process for place in running if place.process]
        writers = [process for process in ours if process.command.name not in ("postgres", "valkey", "seaweed")]
        for group in (writers, [process for process in ours if process not in writers]):
            for process in group:
                process.ask_to_stop()
            for process in group:
                process.stop()
        self._places.clear()
        self.console.say("stopped")


def _how(code: int) -> str:
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"


def _in_use(state: Path, error: locks.HeldError) -> str:
    holder = error.holder
    where = f" at {holder['url']}" if "url" in holder else ""
    return (
        f"A hub with the state folder {state} runs already{where} (process {holder.get('pid', 'unknown')}). "
        "Use it, stop it with Ctrl-C there, or choose another folder with --state."
    )
