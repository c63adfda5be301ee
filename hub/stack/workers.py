"""The Celery processes: one worker for quick jobs, one for heavy and GPU jobs, and the scheduler."""

import os
import secrets
from pathlib import Path

from kombu.exceptions import OperationalError

from hub.stack.process import Command, python_command

ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """Starts and asks one Celery worker."""

    def __init__(self, name: str, queues: str, concurrency: int) -> None:
        self.name = name
        self.queues, self.concurrency = queues, concurrency
        self.node = f"{name}@{secrets.token_hex(4)}"

    def prepare(self) -> None:
        """Nothing to make."""

    def command(self) -> Command:
        """A prefork worker that takes one message at a time; stopped hard after its grace, its jobs are retried."""
        return Command(
            self.name,
            python_command(
                "-m", "celery", "-A", "hub", "--quiet", "worker", "--queues", self.queues, "--hostname", self.node,
                "--pool", "prefork", "--concurrency", str(self.concurrency), "--prefetch-multiplier", "1",
                "--without-gossip", "--without-mingle", "--loglevel", "INFO",
            ),
            environment={"PYTHONWARNINGS": "ignore:::celery.platforms"},
            folder=ROOT,
        )  # fmt: skip

    def answers(self) -> bool:
        """Whether it answers a ping through the broker."""
        from hub.celery import app

        try:
            return bool(app.control.ping(destination=[self.node], timeout=0.5))
        except OperationalError:
            return False

    def speaks(self, line: str) -> bool:
        """Whether a log line is worth a reader's time."""
        return bool(line.strip()) and "Warm shutdown" not in line


class Beat:
    """Starts the scheduler of periodic work."""

    name = "beat"

    def __init__(self, state: Path) -> None:
        self.schedule = state / "beat" / "schedule"

    def prepare(self) -> None:
        """Forget the last schedule: every entry is counted from this start."""
        self.schedule.parent.mkdir(parents=True, exist_ok=True)
        for file in self.schedule.parent.glob("schedule*"):
            file.unlink()

    def command(self) -> Command:
        """The scheduler in the foreground."""
        words = ("--quiet", "beat", "--schedule", str(self.schedule), "--pidfile=", "--loglevel", "WARNING")
        return Command(self.name, python_command("-m", "celery", "-A", "hub", *words), folder=ROOT)

    def answers(self) -> bool:
        """Whether it has written its schedule."""
        return any(self.schedule.parent.glob("schedule*"))

    def speaks(self, line: str) -> bool:
        """Whether a log line is worth a reader's time."""
        return bool(line.strip())


class Answerer:
    """Starts and asks the inference worker, which keeps models in memory."""

    name = "answer"

    def prepare(self) -> None:
        """Nothing to make."""

    def command(self) -> Command:
        """The worker in the foreground, on one thread for each sum, so that it leaves processors to the others."""
        environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "PYTHONWARNINGS": "ignore"}
        return Command(self.name, python_command("manage.py", "answer"), environment=environment, folder=ROOT)

    def answers(self) -> bool:
        """Always: the hub is ready before its models are loaded, and says so to whoever asks meanwhile."""
        return True

    def speaks(self, line: str) -> bool:
        """Whether a log line is worth a reader's time."""
        return bool(line.strip())


def workers(fast: int | None = None) -> list[Worker]:
    """The workers of one machine; `fast` is how many quick jobs run at a time (at most the processors)."""
    return [Worker("fast", "fast", fast or min(2, os.cpu_count() or 1)), Worker("heavy", "heavy,gpu", 1)]
