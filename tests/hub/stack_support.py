"""Runs `manage.py up` as a person would, and looks at its processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hub.stack import environment

ROOT = Path(__file__).resolve().parents[2]
OURS = {
    *environment.GROUPS,
    "CACHE_URL",
    "SECRET_KEY",
    "DJANGO_SETTINGS_MODULE",
    "TESSERA_STATE",
    "TESSERA_TEST_PREPARED",
}
OURS |= {name for names in environment.GROUPS.values() for name in names}


def clean_environment(**more: str) -> dict[str, str]:
    """This process's variables without anything that names a service."""
    return {name: value for name, value in os.environ.items() if name not in OURS} | more


@dataclass
class Up:
    """A running `manage.py up` and what it has written."""

    popen: subprocess.Popen
    log: Path
    state: Path
    port: int

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, words: str, seconds: float = 90) -> None:
        """Return when `words` are in the log; fails with the log when it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while words not in self.text():
            assert self.popen.poll() is None, f"up ended:\n{self.text()}"
            assert time.monotonic() < deadline, f"no '{words}' in:\n{self.text()}"
            time.sleep(0.05)

    def pids(self) -> dict[str, int]:
        """The process of each part."""
        return {path.stem: json.loads(path.read_text())["pid"] for path in (self.state / "run").glob("*.json")}

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit status."""
        self.popen.send_signal(signal.SIGINT)
        return self.popen.wait(60)


@contextmanager
def up(state: Path, variables: dict[str, str], *words: str) -> Iterator[Up]:
    """Start the hub on a free port; it is stopped at the end if it still runs."""
    port = environment.free_port()
    log = state.with_suffix(".log")
    argv = [sys.executable, "manage.py", "up", "--state", str(state), "--port", str(port), "--workers", "1", *words]
    with log.open("w") as output:
        popen = subprocess.Popen(argv, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT)
    hub = Up(popen, log, state, port)
    try:
        yield hub
    finally:
        if popen.poll() is None:
            hub.interrupt()


def families(leaders: dict[str, int]) -> set[int]:
    """All living processes in the sessions these parts lead."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] != "Z" and int(fields[3]) in leaders.values():
            found.add(int(stat.parent.name))
    return found
