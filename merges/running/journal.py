"""Which tensors of a checkpoint are done, one line each, so that a killed run is gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Journal:
    """Lines of JSON; the first says what the run is. A journal of another run, or a torn last line, is left behind.

    So is one from before the machine was started: neither it nor the weights were forced to disk, which would cost
    more than merging does. A killed process loses nothing that way, a machine without power everything.
    """

    def __init__(self, path: Path, key: dict[str, Any]) -> None:
        self._path, self._key = path, key | {"start": _start_of_machine()}
        self.done: dict[str, dict[str, Any]] = {}
        if path.is_file():
            lines = list(_whole_lines(path))
            if lines and lines[0] == self._key:
                self.done = {row["tensor"]: row["facts"] for row in lines[1:]}
                path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        self._started = bool(self.done)

    def add(self, tensor: str, facts: dict[str, Any]) -> None:
        """Note a tensor whose bytes are all written."""
        lines = [{"tensor": tensor, "facts": facts}]
        if not self._started:
            self._path.unlink(missing_ok=True)
            lines.insert(0, self._key)
            self._started = True
        with self._path.open("ab") as file:
            file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        self.done[tensor] = facts


def _start_of_machine() -> str:
    """Another text after every start; empty where the system does not say."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.is_file() else ""


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    result = []
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            result.append(json.loads(line))
        except ValueError:
            break
    return result
