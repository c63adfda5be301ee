"""One set of embedded services per test run, or a kept set shared by many runs (TESSERA_TEST_STATE=DIR).

Every run has its own databases, bucket and broker number, so runs may share the services at the same time.
Services given from outside (DATABASE_URL, BROKER_URL, S3_ENDPOINT_URL with credentials) are used instead.
"""

import atexit
import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import psycopg
import redis
from botocore.exceptions import BotoCoreError, ClientError

from hub.stack import environment
from hub.stack.process import Command, Process, python_command
from hub.stack.seaweed import Seaweed
from hub.stack.services import services as embedded_services
from hub.stack.services import wait_for

ROOT = Path(__file__).resolve().parents[1]
RUN = f"{os.getpid()}"
KEPT = "TESSERA_TEST_STATE"


def prepare() -> None:
    """Point the environment at this run's services, before Django's settings load."""
    if "TESSERA_TEST_PREPARED" in os.environ:
        return
    os.environ["TESSERA_TEST_PREPARED"] = "1"
    outside = [name for name in environment.GROUPS if name in os.environ]
    if KEPT in os.environ:
        state = Path(os.environ[KEPT]).resolve()
    else:
        state = Path(tempfile.mkdtemp(prefix="tessera-tests-"))
        atexit.register(shutil.rmtree, state, ignore_errors=True)
    environment.ensure(state)
    environment.load(["pytest", "--state", str(state)])
    if "BROKER_URL" not in outside:
        os.environ["BROKER_URL"] = _broker(0)
    os.environ["CACHE_URL"] = os.environ["BROKER_URL"]
    os.environ["S3_BUCKET"] = f"test-{RUN}-run"
    os.environ["RATE_LIMITS"] = "off"
    os.environ["EMAIL_URL"] = "consolemail://"
    os.environ.pop("DEBUG", None)


@contextmanager
def running() -> Iterator[Path]:
    """The services, answering, with an empty bucket for this run; yields the state folder."""
    state = Path(os.environ["TESSERA_STATE"])
    with embedded_services(state, keep=KEPT in os.environ, durable=False):
        _tidy_dead_runs()
        redis.Redis.from_url(os.environ["BROKER_URL"]).flushdb()
        with bucket(os.environ["S3_BUCKET"]):
            yield state


def template_database() -> str:
    """The name of a migrated database to copy; made when the migrations have changed since the last one."""
    migrations = sorted(ROOT.glob("*/migrations/*.py")) + sorted(ROOT.glob("*/*/migrations/*.py"))
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in [*migrations, ROOT / "hub/settings.py"]))
    name = f"template_{digest.hexdigest()[:12]}"
    with (Path(os.environ["TESSERA_STATE"]) / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _rows("SELECT 1 FROM pg_database WHERE datname = %s", name):
            build = f"build_{RUN}"
            _execute(f'CREATE DATABASE "{build}"')
            try:
                run_manage(hub_environment(build), "migrate", "--verbosity", "0")
                _execute(f'ALTER DATABASE "{build}" RENAME TO "{name}"')
            except BaseException:
                _execute(f'DROP DATABASE "{build}" WITH (FORCE)')
                raise
    return name


def hub_environment(database: str, **more: str) -> dict[str, str]:
    """Variables for a hub process of its own, on the named database."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{database}").geturl()
    dropped = {"PYTEST_CURRENT_TEST", "TESSERA_TEST_PREPARED"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    # Named, not left out: a process inherits what it is not told, and pytest's own settings are not the hub's.
    return kept | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "hub.settings"} | more


def run_manage(variables: dict[str, str], *words: str, timeout: float = 300) -> str:
    """Run manage.py with these variables; returns its output, raises with both streams when it fails."""
    argv = python_command(str(ROOT / "manage.py"), *words)
    done = subprocess.run(argv, env=variables, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"manage.py {' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


@dataclass
class LiveHub:
    """A real hub: gunicorn and a Celery worker on a database, bucket and broker number of their own."""

    url: str
    state: Path
    variables: dict[str, str]
    processes: dict[str, Process] = field(default_factory=dict)

    def manage(self, *words: str) -> str:
        """Run a management command against this hub; returns its output."""
        return run_manage(self.variables, *words)

    def create_account(self, name: str, **options: str | bool) -> str:
        """Create an account with `create_account`'s options (`role="maintainer"`, `org=True`); returns its token."""
        token = str(options.pop("token", "")) or "hf_" + secrets.token_hex(17)
        words = ["create_account", name, "--token", token]
        for option, value in options.items():
            flag = "--" + option.replace("_", "-")
            words += [flag] if value is True else [flag, str(value)] if value else []
        self.manage(*words)
        return token

    def restart(self, part: str) -> None:
        """Start `web` or `worker` again after a test killed it, and wait until it answers."""
        self.processes[part].stop()
        self.processes[part] = Process(self.processes[part].command, self.state)
        wait_until_live(self, {part})

    def log(self, part: str) -> str:
        """What `web` or `worker` has written so far."""
        return (self.state / "logs" / f"{part}.log").read_text(errors="replace")


@contextmanager
def live_hub() -> Iterator[LiveHub]:
    """Start a live hub beside the run's own database; stops and drops everything of it at the end."""
    name = f"live_{RUN}"
    port = environment.free_port()
    with ExitStack() as stack:
        stack.enter_context(database(name))
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tessera-live-")))
        url = f"http://127.0.0.1:{port}"
        broker = _broker(1)
        redis.Redis.from_url(broker).flushdb()
        variables = hub_environment(
            name, TESSERA_STATE=str(state), PUBLIC_URL=url, BROKER_URL=broker, CACHE_URL=broker,
            S3_BUCKET=f"test-{RUN}-live", OMP_NUM_THREADS="1", CELERY_LOG_LEVEL="INFO",
        )  # fmt: skip
        stack.enter_context(bucket(variables["S3_BUCKET"]))
        hub = LiveHub(url, state, variables)
        for part in _live_commands(port, variables, state):
            hub.processes[part.name] = Process(part, state)
            stack.callback(lambda name=part.name: hub.processes[name].stop())
        wait_until_live(hub, set(hub.processes))
        yield hub


def _live_commands(port: int, variables: dict[str, str], state: Path) -> list[Command]:
    web = python_command(
        "-m", "gunicorn", "hub.wsgi:application", "--bind", f"127.0.0.1:{port}", "--threads", "8", "--workers", "1",
        "--timeout", "120", "--no-control-socket", "--access-logfile", "-",
    )  # fmt: skip
    worker = python_command(
        "-m", "celery", "-A", "hub", "worker", "-Q", "fast,heavy,gpu", "-c", "2", "-n", "live@tests",
        "--without-gossip", "--without-mingle", "-l", "INFO", "-B", "-s", str(state / "beat"),
    )  # fmt: skip
    more = {"environment": variables, "folder": ROOT, "grace_seconds": 5.0}
    return [Command("web", web, **more), Command("worker", worker, **more)]


def wait_until_live(hub: LiveHub, waiting: set[str], seconds: float = 90) -> None:
    """Return when these parts of a live hub answer; raises with their log when one ended or stays silent."""
    from celery import Celery

    knock = Celery(broker=hub.variables["BROKER_URL"])
    deadline = time.monotonic() + seconds
    while waiting:
        for name in waiting:
            if hub.processes[name].exit_code() is not None:
                raise RuntimeError(f"The live hub's {name} ended at once:\n{hub.log(name)[-4000:]}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"The live hub does not answer: {waiting}\n" + "\n".join(hub.log(n) for n in waiting))
        if "web" in waiting and _answers(hub.url):
            waiting = waiting - {"web"}
        if "worker" in waiting and knock.control.ping(timeout=0.3):
            waiting = waiting - {"worker"}
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def database(name: str) -> Iterator[None]:
    """A migrated database for the length of the block."""
    _execute(f'CREATE DATABASE "{name}" TEMPLATE "{template_database()}"')
    try:
        yield
    finally:
        _execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextmanager
def bucket(name: str) -> Iterator[None]:
    """A bucket for the length of the block."""
    client = store_client()
    with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        client.create_bucket(Bucket=name)
    yield
    empty_bucket(name)


def empty_bucket(name: str) -> None:
    """Delete a bucket with all it holds."""
    client = store_client()
    with suppress(ClientError):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for entry in page.get("Contents", []):
                client.delete_object(Bucket=name, Key=entry["Key"])
        client.delete_bucket(Bucket=name)


class OwnStore:
    """An object store of one test's own, on ports of its own, that it may stop and start: the run's store stays."""

    def __init__(self, state: Path) -> None:
        """Nothing is started yet. It knows the run's keys, so that only the endpoint has to be changed."""
        known = {name: os.environ[name] for name in ("S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")}
        self._part, self._state = Seaweed(state, environment.ensure(state) | known), state
        self._process: Process | None = None

    @property
    def endpoint(self) -> str:
        """Where it answers while it runs."""
        return f"http://{environment.LOOPBACK}:{self._part.values['S3_PORT']}"

    def start(self, seconds: float = 60) -> None:
        """Start it and wait until it takes new objects and gives all it held: its gateway answers before its disk."""
        self._part.prepare()
        self._process = Process(self._part.command(), self._state)
        wait_for([self._part])
        deadline = time.monotonic() + seconds
        while not self._serves():
            if time.monotonic() > deadline:
                raise RuntimeError("The test's own object store does not serve what it holds.")
            time.sleep(0.1)

    def stop(self) -> None:
        """End its process; what it holds stays on disk."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def _serves(self) -> bool:
        client, name = store_client(self.endpoint), os.environ["S3_BUCKET"]
        try:
            with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                client.create_bucket(Bucket=name)
            client.put_object(Bucket=name, Key="knock", Body=b"Who is there?")
            for entry in client.list_objects_v2(Bucket=name)["Contents"]:
                client.get_object(Bucket=name, Key=entry["Key"])["Body"].read()
            client.delete_object(Bucket=name, Key="knock")
        except (ClientError, BotoCoreError):
            return False
        return True


def store_client(endpoint: str = "") -> "boto3.client":
    """A client of the run's object store, or of one at another endpoint."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint or os.environ["S3_ENDPOINT_URL"],
        aws_access_key_id=os.environ["S3_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["S3_SECRET_ACCESS_KEY"],
        region_name=os.environ.get("S3_REGION", "us-east-1"),
    )


def _broker(offset: int) -> str:
    number = 2 * (os.getpid() % 500) + offset
    url = urlsplit(os.environ["BROKER_URL"])
    embedded = environment.is_embedded("BROKER_URL", environment.read(Path(os.environ["TESSERA_STATE"])))
    return url._replace(path=f"/{number if embedded else 14 + offset}").geturl()


def _tidy_dead_runs() -> None:
    """Drop databases and buckets of runs that were killed."""
    for (name,) in _rows("SELECT datname FROM pg_database WHERE datname ~ '^(test|live|build)_[0-9]+'"):
        if not _alive(name.split("_")[1]):
            _execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    for entry in store_client().list_buckets()["Buckets"]:
        if entry["Name"].startswith("test-") and not _alive(entry["Name"].split("-")[1]):
            empty_bucket(entry["Name"])


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _connect() -> psycopg.Connection:
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path="/postgres").geturl()
    return psycopg.connect(url, autocommit=True)


def _execute(statement: str) -> None:
    with _connect() as connection:
        connection.execute(statement)


def _rows(query: str, *values: str) -> list[tuple]:
    with _connect() as connection:
        return connection.execute(query, values or None).fetchall()


if __name__ == "__main__" and sys.argv[1:] == ["stop"]:
    from hub.stack.services import stop_kept

    print("stopped:", ", ".join(stop_kept(Path(os.environ[KEPT]).resolve())) or "nothing ran")
