"""One supervised child process: started so that it cannot outlive us, recorded so that the next start can tidy up."""

import ctypes
import json
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Listener = Callable[[str], None]


class StackError(Exception):
    """A part of the stack cannot run; the message says what happened and what to do."""


@dataclass(frozen=True)
class Command:
    """What to start: arguments, extra variables, the system user, and how to ask it to stop."""

    name: str
    argv: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    user: str | None = None
    stop_signal: int = signal.SIGTERM
    grace_seconds: float = 10.0


class Process:
    """A running command. Attached ones are killed by the kernel if we die; kept ones stay and log to a file."""

    def __init__(self, command: Command, state: Path, listener: Listener | None = None, *, keep: bool = False) -> None:
        """Start the command at once; `listener` gets its output line by line, else it goes to `logs/NAME.log`.

        Call it from a thread that lives as long as the process should: Linux ends the child with that thread.
        """
        self.command = command
        self.started = time.monotonic()
        self._record = _record_path(state, command.name)
        environment = {**os.environ, **command.environment}
        log = None if listener else _open_log(state, command.name)
        self._popen: subprocess.Popen[bytes] = subprocess.Popen(
            command.argv,
            cwd=command.folder or state,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log if log is not None else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=None if keep else _ender(command.stop_signal),  # noqa: PLW1509 - prctl only
            user=command.user,
            group=group_of(command.user),
            extra_groups=None if command.user is None else [],
        )
        if log is not None:
            os.close(log)
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._record.write_text(
            json.dumps({"pid": self.pid, "born": _born(self.pid), "signal": int(command.stop_signal)})
        )
        if listener:
            threading.Thread(target=self._listen, args=(listener,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id, which is also its group's."""
        return self._popen.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._popen.poll()

    def ask_to_stop(self) -> None:
        """Send its stop signal, if it still runs."""
        if self.exit_code() is None:
            self._popen.send_signal(self.command.stop_signal)

    def stop(self) -> None:
        """Ask, wait its grace, then kill what is left of its group."""
        self.ask_to_stop()
        try:
            self._popen.wait(self.command.grace_seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _kill_group(self.pid)
            self._popen.wait()
            self._record.unlink(missing_ok=True)

    def _listen(self, listener: Listener) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            listener(line.decode("utf-8", "replace").rstrip())


def recorded(state: Path, name: str) -> int | None:
    """The process id of a part that an earlier start recorded and that still runs; None when there is none."""
    try:
        record = json.loads(_record_path(state, name).read_text())
    except (OSError, ValueError):
        return None
    pid = int(record["pid"])
    return pid if record["born"] == _born(pid) else None


def sweep(state: Path, grace_seconds: float = 10.0) -> list[str]:
    """Stop parts that an earlier start left behind (it was killed, or kept them); return their names."""
    found = []
    for path in sorted((state / "run").glob("*.json")):
        pid = recorded(state, path.stem)
        if pid is not None:
            found.append(path.stem)
            os.kill(pid, json.loads(path.read_text())["signal"])
            deadline = time.monotonic() + grace_seconds
            while recorded(state, path.stem) is not None and time.monotonic() < deadline:
                time.sleep(0.05)
            _kill_group(pid)
        path.unlink(missing_ok=True)
    return found


def python_command(*words: str) -> list[str]:
    """A command line of this interpreter."""
    return [sys.executable, *words]


def _record_path(state: Path, name: str) -> Path:
    return state / "run" / f"{name}.json"


def _open_log(state: Path, name: str) -> int:
    folder = state / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


def group_of(user: str | None) -> int | None:
    """The first group of a system user; None for nobody in particular."""
    return None if user is None else pwd.getpwnam(user).pw_gid


def _born(pid: int) -> str | None:
    """When a process began, as the system tells it: tells a process from a later one with the same id."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _ender(stop_signal: int) -> Callable[[], None] | None:
    """What the child runs before its program: ask the kernel for `stop_signal` when its starter dies."""
    if _LIBC is None:
        return None
    libc, starter = _LIBC, os.getpid()

    def bind_to_starter() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(stop_signal))
        if os.getppid() != starter:
            os._exit(1)

    return bind_to_starter
