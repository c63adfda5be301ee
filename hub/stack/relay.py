"""Opens the embedded store's S3 port, and only that one, to other machines when the hub listens outwards.

The store would open its inner control port together with S3; so it stays on loopback and bytes are passed on here.
Signatures cover the host name a client asked for, which is passed on unchanged.
"""

import asyncio
import contextlib
import socket
import sys
from pathlib import Path

from hub.stack.environment import LOOPBACK
from hub.stack.process import Command, python_command

CHUNK = 256 * 1024
ROOT = Path(__file__).resolve().parents[2]


class Relay:
    """Starts and asks the relay."""

    name = "relay"

    def __init__(self, host: str, port: int, target: int) -> None:
        """Listens on `host`:`port`, passes on to `target` on loopback."""
        self.host, self.port, self.target = host, port, target

    def prepare(self) -> None:
        """Nothing to make."""

    def command(self) -> Command:
        """This module as a program."""
        words = ("-m", "hub.stack.relay", self.host, str(self.port), str(self.target))
        return Command(self.name, python_command(*words), folder=ROOT, grace_seconds=2.0)

    def answers(self) -> bool:
        """Whether it takes connections."""
        host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        try:
            socket.create_connection((host, self.port), timeout=2).close()
        except OSError:
            return False
        return True

    def speaks(self, line: str) -> bool:
        """Whether a log line is worth a reader's time."""
        return bool(line.strip())


async def serve(host: str, port: int, target: int) -> None:
    """Pass every connection on to `target` on loopback, both ways, until cancelled."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))

    server = await asyncio.start_server(meet, host, port, limit=CHUNK)
    async with server:
        await server.serve_forever()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction to its end; a side that hangs up ends it quietly."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
