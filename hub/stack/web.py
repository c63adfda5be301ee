"""The web server: gunicorn with a few processes of several threads each."""

import http.client
import os
from pathlib import Path

from hub.stack.environment import LOOPBACK
from hub.stack.process import Command, python_command

THREADS = 8
ROOT = Path(__file__).resolve().parents[2]


class Web:
    """Starts and asks the web server."""

    name = "web"

    def __init__(self, host: str, port: int, workers: int) -> None:
        """`workers`: processes, each with eight threads."""
        self.host, self.port, self.workers = host, port, workers

    def prepare(self) -> None:
        """Nothing to make: static files are served from where they are."""

    def command(self) -> Command:
        """The server in the foreground; its access log leaves out queries, which may hold secrets."""
        bind = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        shared_memory = ["--worker-tmp-dir", "/dev/shm"] if os.access("/dev/shm", os.W_OK) else []  # noqa: S108
        return Command(
            self.name,
            python_command(
                "-m", "gunicorn", "hub.wsgi:application", "--bind", bind, "--worker-class", "gthread",
                "--workers", str(self.workers), "--threads", str(THREADS), "--timeout", "120", "--keep-alive", "15",
                "--graceful-timeout", "8", "--no-control-socket", "--log-level", "warning", "--access-logfile", "-",
                "--access-logformat", "%(m)s %(U)s %(s)s %(M)s ms", *shared_memory,
            ),
            folder=ROOT,
        )  # fmt: skip

    def answers(self) -> bool:
        """Whether a request gets an answer from the application."""
        return self.status() is not None

    def status(self) -> int | None:
        """The HTTP status of the health page; None while nobody answers."""
        host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        connection = http.client.HTTPConnection(host, self.port, timeout=10)
        try:
            connection.request("GET", "/health/alive")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def speaks(self, line: str) -> bool:
        """Whether a log line is worth a reader's time."""
        return "/static/" not in line
