"""The state folder and its `stack.env`: secrets and addresses of the embedded services, as environment variables.

Read before Django's settings; a variable that is already set in the environment always wins.
"""

import fcntl
import os
import secrets
import socket
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from urllib.parse import urlsplit

from hub.stack.process import recorded

FILE = "stack.env"
LOOPBACK = "127.0.0.1"
CREATING_COMMANDS = frozenset({"up", "demo", "create_account", "makemigrations", "spectacular"})
"""Commands that may found a new state folder: they start its services or need none; all others only read one."""

SEAWEED_PORTS = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3.grpc")
GROUPS = {
    "DATABASE_URL": ("DATABASE_URL",),
    "BROKER_URL": ("BROKER_URL",),
    "S3_ENDPOINT_URL": ("S3_ENDPOINT_URL", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "S3_BUCKET", "S3_REGION"),
}
"""What goes together: an endpoint given from outside must not be asked with the embedded store's keys."""


def option(argv: Sequence[str], name: str) -> str | None:
    """The value of `--name VALUE` or `--name=VALUE` in a command line; None when it is not there."""
    flag = f"--{name}"
    for position, word in enumerate(argv):
        if word == flag and position + 1 < len(argv):
            return argv[position + 1]
        if word.startswith(flag + "="):
            return word.removeprefix(flag + "=")
    return None


def state_folder(argv: Sequence[str] = ()) -> Path:
    """The folder named by `--state`, else by TESSERA_STATE, else `.tessera` beside manage.py; always absolute."""
    default = Path(__file__).resolve().parents[2] / ".tessera"
    return Path(option(argv, "state") or os.environ.get("TESSERA_STATE") or default).expanduser().resolve()


def load(argv: Sequence[str]) -> Path:
    """Put the state folder's variables into the environment and return the folder.

    `up`, `demo` and `create_account` found the folder when it is new and give a service another port when a stranger
    listens on its own; other commands only read what is there.
    """
    state = state_folder(argv)
    os.environ["TESSERA_STATE"] = str(state)
    command = argv[1] if len(argv) > 1 else ""
    values = ensure(state) if command in CREATING_COMMANDS else read(state)
    for lead, names in GROUPS.items():
        if lead not in os.environ:
            os.environ.update({name: values[name] for name in names if name in values and name not in os.environ})
    if "SECRET_KEY" in values:
        os.environ.setdefault("SECRET_KEY", values["SECRET_KEY"])
    if command in ("up", "demo"):
        _set_addresses(option(argv, "host") or LOOPBACK, option(argv, "port") or "8000")
    return state


def read(state: Path) -> dict[str, str]:
    """The variables of the state folder's `stack.env`; empty when there is none."""
    path = state / FILE
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def ensure(state: Path) -> dict[str, str]:
    """Create or complete `stack.env` (mode 600) and move ports that a stranger took; return its variables."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / f"{FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = read(state)
        values = _complete(state, known)
        if values != known:
            _write(state / FILE, values)
    return values


def _complete(state: Path, known: Mapping[str, str]) -> dict[str, str]:
    """The known variables, with fresh secrets and ports for what is missing or taken."""
    values = dict(known)
    for name in ("SECRET_KEY", "DATABASE_PASSWORD", "BROKER_PASSWORD", "S3_SECRET_ACCESS_KEY", "SEAWEED_KEY"):
        values.setdefault(name, secrets.token_urlsafe(48 if name == "SECRET_KEY" else 24))
    values.setdefault("S3_ACCESS_KEY_ID", secrets.token_hex(10).upper())
    values.setdefault("S3_BUCKET", "tessera")
    values.setdefault("S3_REGION", "us-east-1")
    owners = {"POSTGRES_PORT": "postgres", "VALKEY_PORT": "valkey", "S3_PORT": "seaweed", "RELAY_PORT": "relay"}
    owners |= {_port_name(part): "seaweed" for part in SEAWEED_PORTS}
    alive = {owner for owner in set(owners.values()) if recorded(state, owner) is not None}
    for name, owner in owners.items():
        if name not in values or (owner not in alive and not port_is_free(int(values[name]))):
            values[name] = str(free_port({int(values[other]) for other in owners if other in values}))
    address = f"{LOOPBACK}:{values['POSTGRES_PORT']}"
    values["DATABASE_URL"] = f"postgres://tessera:{values['DATABASE_PASSWORD']}@{address}/tessera"
    values["BROKER_URL"] = f"redis://:{values['BROKER_PASSWORD']}@{LOOPBACK}:{values['VALKEY_PORT']}/0"
    values["S3_ENDPOINT_URL"] = f"http://{LOOPBACK}:{values['S3_PORT']}"
    return values


def is_embedded(name: str, values: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a service is ours to run: its variable names the embedded one's host and port."""
    return name in values and urlsplit(environ.get(name, "")).netloc == urlsplit(values[name]).netloc


def seaweed_ports(values: Mapping[str, str]) -> dict[str, str]:
    """The store's inner ports by the name of weed's option, e.g. `master.grpc`."""
    return {part: values[_port_name(part)] for part in SEAWEED_PORTS}


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on this port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host name or address reaches this machine only."""
    return host in ("localhost", "::1", "[::1]") or host.startswith("127.")


def _port_name(part: str) -> str:
    return f"SEAWEED_{part.replace('.', '_').upper()}_PORT"


def free_port(taken: Set[int] = frozenset()) -> int:
    """A free port below the kernel's range for outgoing connections, so that no client gets in our way later."""
    for _ in range(1000):
        port = 20_000 + secrets.randbelow(12_000)
        if port not in taken and port_is_free(port):
            return port
    raise RuntimeError("No free port between 20000 and 32000 on this machine: stop what uses them, then start again.")


def _set_addresses(host: str, port: str) -> None:
    """PUBLIC_URL and ALLOWED_HOSTS for a hub started here, unless they were given."""
    outward = not is_loopback(host)
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
    shown = f"[{name}]" if ":" in name and not name.startswith("[") else name
    os.environ.setdefault("PUBLIC_URL", f"http://{shown}:{port}")
    if outward:
        public = urlsplit(os.environ["PUBLIC_URL"]).hostname or name
        os.environ.setdefault("ALLOWED_HOSTS", ",".join(dict.fromkeys([public, shown, "127.0.0.1", "localhost"])))
        values = read(Path(os.environ["TESSERA_STATE"]))
        if is_embedded("S3_ENDPOINT_URL", values):
            os.environ.setdefault("S3_PUBLIC_ENDPOINT_URL", f"http://{shown}:{values['RELAY_PORT']}")


def _write(path: Path, values: Mapping[str, str]) -> None:
    """Replace the file in one step, never readable by others."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("# Secrets and addresses of the embedded services. Keep this file; share it with nobody.\n")
        file.writelines(f"{name}={value}\n" for name, value in values.items())
    fresh.replace(path)
