"""Who holds a state folder: a file lock that the kernel lets go of when its holder dies."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAME = "stack.lock"


class HeldError(Exception):
    """Somebody else holds the folder; `holder` is what they wrote about themselves."""

    def __init__(self, holder: dict[str, Any]) -> None:
        super().__init__(f"held by process {holder.get('pid', '?')}")
        self.holder = holder


@contextmanager
def held(state: Path, about: dict[str, Any], *, wait: bool = False) -> Iterator[None]:
    """Hold the state folder; raises HeldError if it is taken and `wait` is not set."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise HeldError(holder(state)) from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), **about}))
        file.flush()
        yield
        file.truncate(0)


def holder(state: Path) -> dict[str, Any]:
    """What the last holder wrote about itself; empty when nobody holds the folder or nothing was written yet."""
    try:
        found: dict[str, Any] = json.loads((state / NAME).read_text())
    except (OSError, ValueError):
        return {}
    return found
