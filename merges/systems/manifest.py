"""system.json: what a System is made of, everything pinned to commits. Bytes in, checked data out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from adapters.formats import strict_json
from adapters.formats.errors import FormatError

NAME = "system.json"
MOST_MEMBERS = 500
MOST_BYTES = 1 << 20
MOST = 1e15
"""The largest number a router's parameter may be: far beyond any use, and one that every reader keeps exactly."""
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_SHA = re.compile(r"[0-9a-f]{40}")


class BadManifest(ValueError):
    """system.json is not what it should be; the message says where and what to do."""


@dataclass(frozen=True)
class Pin:
    """A repo at one commit."""

    repo: str
    sha: str


@dataclass(frozen=True)
class Member:
    """An accepted specialist and the task it is for, both pinned."""

    adapter: Pin
    task: Pin


@dataclass(frozen=True)
class Manifest:
    """A base, its specialists, the router's name and parameters, and perhaps a merge recipe for a generalist."""

    base: Pin
    members: tuple[Member, ...] = ()
    router: str = "best_five"
    parameters: Mapping[str, float] = field(default_factory=dict)
    generalist: Mapping[str, Any] | None = None

    def with_member(self, member: Member) -> Manifest:
        """The manifest with a specialist added, or a newer revision of it in the old one's place."""
        kept = [one for one in self.members if one.adapter.repo.lower() != member.adapter.repo.lower()]
        places = [one.adapter.repo.lower() for one in self.members]
        name = member.adapter.repo.lower()
        kept.insert(places.index(name) if name in places else len(kept), member)
        return replace(self, members=tuple(kept))

    def without(self, repo: str) -> Manifest:
        """The manifest without one specialist. Raises BadManifest if it is no member."""
        kept = tuple(one for one in self.members if one.adapter.repo.lower() != repo.lower())
        if len(kept) == len(self.members):
            raise BadManifest(f"{repo} is no member of this System.")
        return replace(self, members=kept)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        data: dict[str, Any] = {
            "version": 1,
            "base": {"repo": self.base.repo, "sha": self.base.sha},
            "router": {"name": self.router, "parameters": dict(self.parameters)},
            "members": [
                {"adapter": {"repo": one.adapter.repo, "sha": one.adapter.sha},
                 "task": {"repo": one.task.repo, "sha": one.task.sha}}
                for one in self.members
            ],
        }  # fmt: skip
        return data | ({"generalist": dict(self.generalist)} if self.generalist else {})

    def to_bytes(self) -> bytes:
        """The file: stable, so that diffs show what changed."""
        return (json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n").encode()


def parse(data: bytes | str | Mapping[str, Any]) -> Manifest:
    """Read a manifest. Raises BadManifest with the place of what is wrong."""
    if isinstance(data, bytes | str):
        try:
            whole = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
            data = strict_json.loads(whole, what=NAME, max_bytes=MOST_BYTES)
        except FormatError as error:
            raise BadManifest(error.message) from error
    if not isinstance(data, Mapping):
        raise BadManifest(f"{NAME} must be a JSON object.")
    if data.get("version") != 1:
        raise BadManifest("'version' must be 1.")
    listed = data.get("members", [])
    if not isinstance(listed, list) or len(listed) > MOST_MEMBERS:
        raise BadManifest(f"'members' must be a list of {MOST_MEMBERS} entries at most.")
    members = tuple(_member(entry, number) for number, entry in enumerate(listed, start=1))
    names = [one.adapter.repo.lower() for one in members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise BadManifest(f"{twice} is a member twice; keep one revision of it.")
    router, parameters = _router(data.get("router", {}))
    generalist = data.get("generalist")
    if generalist is not None and not (
        isinstance(generalist, Mapping) and isinstance(generalist.get("recipe"), Mapping)
        and isinstance(generalist.get("target"), str)
    ):  # fmt: skip
        raise BadManifest("'generalist' needs a 'recipe' (as for a merge, without inputs) and a 'target' (owner/name).")
    if generalist is not None and not _REPO.fullmatch(generalist["target"]):
        raise BadManifest("The generalist's 'target' must be owner/name: where the merge of each release goes.")
    return Manifest(_pin(data.get("base"), "base"), members, router, parameters, generalist)


def _member(entry: Any, number: int) -> Member:
    if not isinstance(entry, Mapping):
        raise BadManifest(f"Member {number} must be an object with 'adapter' and 'task'.")
    return Member(
        _pin(entry.get("adapter"), f"member {number}, adapter"), _pin(entry.get("task"), f"member {number}, task")
    )


def _pin(value: Any, where: str) -> Pin:
    repo, sha = (value.get("repo"), value.get("sha")) if isinstance(value, Mapping) else (None, None)
    if not isinstance(repo, str) or not _REPO.fullmatch(repo):
        raise BadManifest(f"{where}: 'repo' must be owner/name.")
    if not isinstance(sha, str) or not _SHA.fullmatch(sha):
        raise BadManifest(f"{where}: 'sha' must be a full commit id, so that nothing changes by itself.")
    return Pin(repo, sha)


def _router(value: Any) -> tuple[str, dict[str, float]]:
    name = value.get("name", "best_five") if isinstance(value, Mapping) else None
    parameters = value.get("parameters", {}) if isinstance(value, Mapping) else None
    if not isinstance(name, str) or not isinstance(parameters, Mapping):
        raise BadManifest("'router' must be an object with a 'name' and 'parameters'.")
    for number in parameters.values():
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= MOST:
            raise BadManifest("The router's parameters must be numbers of ordinary size.")
    return name, {str(key): float(number) for key, number in parameters.items()}


def changes(before: Manifest | None, after: Manifest) -> list[str]:
    """What a new manifest changes, in sentences: the changelog."""
    old = {one.adapter.repo: one for one in before.members} if before else {}
    new = {one.adapter.repo: one for one in after.members}
    lines = [f"Added {name} for {one.task.repo}." for name, one in new.items() if name not in old]
    lines += [f"Removed {name}." for name in old if name not in new]
    lines += [
        f"Updated {name} from {old[name].adapter.sha[:7]} to {one.adapter.sha[:7]}."
        for name, one in new.items()
        if name in old and old[name].adapter.sha != one.adapter.sha
    ]
    if before and before.base != after.base:
        lines.append(f"The base is {after.base.repo} at {after.base.sha[:7]}.")
    if before and (before.router, dict(before.parameters)) != (after.router, dict(after.parameters)):
        lines.append(f"The router is {after.router}.")
    if before and before.generalist != after.generalist:
        target = (after.generalist or {}).get("target")
        lines.append(f"A generalist is kept in {target}." if target else "No generalist is kept any more.")
    if before is None and not lines:
        return [f"It begins with the base {after.base.repo}, and without specialists."]
    return lines or ["Nothing but words changed."]
