"""What a person sees of the stack: one coloured prefix per part, times, and nothing else."""

import sys
import threading
import time
from collections import deque

COLOURS = {
    "postgres": 34,
    "valkey": 31,
    "seaweed": 32,
    "web": 36,
    "fast": 33,
    "heavy": 35,
    "beat": 90,
    "relay": 32,
    "up": 1,
}
WIDTH = max(map(len, COLOURS))


class Console:
    """Writes whole lines from many threads; keeps the last of each part for error messages."""

    def __init__(self, *, colour: bool | None = None) -> None:
        """`colour` defaults to whether the output is a terminal."""
        self.colour = sys.stdout.isatty() if colour is None else colour
        self.quiet = False
        self._lock = threading.Lock()
        self._last: dict[str, deque[str]] = {}

    def say(self, line: str) -> None:
        """A line of the supervisor itself; shown also when quiet."""
        self._write("up", line)

    def hear(self, part: str, line: str, *, show: bool) -> None:
        """A line of a part's log; kept always, shown if it is worth it and we are not quiet."""
        self._last.setdefault(part, deque(maxlen=20)).append(line)
        if show and not self.quiet:
            self._write(part, line)

    def last(self, part: str) -> str:
        """The last lines of a part's log."""
        return "\n".join(self._last.get(part, ()))

    def _write(self, part: str, line: str) -> None:
        label = f"{part:<{WIDTH}}"
        if self.colour:
            label = f"\033[{COLOURS.get(part, 37)}m{label}\033[0m"
        with self._lock:
            try:
                sys.stdout.write(f"{time.strftime('%H:%M:%S')} {label} │ {line}\n")
                sys.stdout.flush()
            except (BrokenPipeError, ValueError):
                self.quiet = True
