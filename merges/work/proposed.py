"""A proposed commit as its checks see it, and which checks there are for each kind of repo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from adapters.formats.findings import Finding
from hub.accounts.actor import Actor
from hub.jobs.running import Running
from hub.repos.models import Commit, Repo
from hub.review.models import ChangeRequest


@dataclass
class Proposed:
    """What the checks look at: the commit, what it was made from, and what was measured of it."""

    running: Running
    repo: Repo
    commit: Commit
    kind: str
    actor: Actor
    request: ChangeRequest | None
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)
    base: Repo | None = None
    tasks: list[Repo] = field(default_factory=list)

    @property
    def published(self) -> Commit | None:
        """The commit the proposal wants to replace, None for a first one."""
        sha = self.repo.head
        return Commit.objects.filter(repo=self.repo, sha=sha).first() if sha and sha != self.commit.sha else None


Check = Callable[[Proposed], Finding | None]
_checks: dict[str, tuple[tuple[str, ...], Check]] = {}


def register_check(name: str, kinds: tuple[str, ...], check: Check) -> None:
    """Add a check for proposals to repos of these kinds; it answers None where it has nothing to say."""
    _checks[name] = (kinds, check)


def checks_for(kind: str) -> list[tuple[str, Check]]:
    """The checks of a kind of repo by name, in the order they were registered."""
    return [(name, check) for name, (kinds, check) in _checks.items() if kind in kinds]
