"""A push, command by command: the pack is read once, then every ref goes through the rules of the rooms."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from hub.accounts.actor import Actor
from hub.pages.errors import describe
from hub.repos import pushing
from hub.repos.models import ZERO_SHA, GitObject, Repo
from hub.wire import packfile
from hub.wire.errors import WireError
from hub.wire.packfile import FLUSH, packet

MAX_COMMANDS = 50
_COMMAND = re.compile(r"([0-9a-f]{40}) ([0-9a-f]{40}) (refs/[^\x00-\x20\x7f]{1,250})")


@dataclass(frozen=True)
class Command:
    """Move a ref from one commit to another; ZERO_SHA stands for its absence."""

    old: str
    new: str
    ref: str


def receive(actor: Actor, repo: Repo, body: BinaryIO) -> bytes:
    """Carry out a push and report in git's own form, ref by ref. Raises WireError for what is no push at all."""
    try:
        commands, capabilities = _commands(body)
    except packfile.BadPack as error:
        raise WireError(400, str(error)) from error
    if not commands:
        return b""
    objects: dict[str, tuple[str, bytes]] = {}
    unpacked = "ok"
    if any(command.new != ZERO_SHA for command in commands):
        try:
            objects = _unpack(repo, body)
        except packfile.BadPack as error:
            unpacked = str(error)
    lines = [f"unpack {unpacked}"]
    for command in commands:
        problem = "nothing was unpacked" if unpacked != "ok" else _carry_out(actor, repo, command, objects)
        lines.append(f"ng {command.ref} {problem}" if problem else f"ok {command.ref}")
    if "report-status" not in capabilities:
        return b""
    report = b"".join(packet(f"{line}\n".encode()) for line in lines) + FLUSH
    if "side-band-64k" not in capabilities:
        return report
    refused = [line for line in lines if line.startswith("ng ")]
    words = "".join(f"{line.split(' ', 2)[1]}: {line.split(' ', 2)[2]}\n" for line in refused).encode()
    return b"".join([*packfile.sideband([words] if words else [], 2), *packfile.sideband([report])]) + FLUSH


def _commands(body: BinaryIO) -> tuple[list[Command], set[str]]:
    commands: list[Command] = []
    capabilities: set[str] = set()
    lines: Iterator[bytes | None] = packfile.packets(body.read)
    for line in lines:
        if line is None:
            break
        text, _, rest = line.partition(b"\0")
        capabilities |= set(rest.decode(errors="replace").split())
        match = _COMMAND.fullmatch(text.decode(errors="replace"))
        if not match or len(commands) >= MAX_COMMANDS:
            raise packfile.BadPack(f"A push has 1 to {MAX_COMMANDS} commands of the form 'old new refs/…'.")
        commands.append(Command(*match.groups()))
    return commands, capabilities


def _unpack(repo: Repo, body: BinaryIO) -> dict[str, tuple[str, bytes]]:
    with tempfile.SpooledTemporaryFile(max_size=4 * 1024 * 1024) as file:
        while chunk := body.read(65_536):
            file.write(chunk)
        if not file.tell():
            return {}  # all commits are here already
        file.seek(0)
        return packfile.Reader(file, lambda sha: _known(repo, sha)).read()  # type: ignore[arg-type]


def _known(repo: Repo, sha: str) -> tuple[str, bytes] | None:
    row = GitObject.objects.filter(repo=repo, sha=sha).values_list("kind", "data").first()
    return (row[0], bytes(row[1])) if row else None


def _carry_out(actor: Actor, repo: Repo, command: Command, objects: dict[str, tuple[str, bytes]]) -> str:
    """One command; the sentence why not, or nothing."""
    try:
        pushing.update_ref(actor=actor, repo=repo, ref=command.ref, old=command.old, new=command.new, objects=objects)
    except Exception as error:
        known = describe(error)
        if known is None:
            raise
        return " ".join(known[2].split())[:500]
    return ""
