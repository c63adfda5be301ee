"""What an inspection says: facts that were measured, and findings with a verdict each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One verdict on one property; `summary` is one sentence, `details` is JSON-able."""

    name: str
    verdict: Verdict
    summary: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Inspection:
    """Everything measured from one file set: `facts` is JSON-able, `findings` are in the order they were made."""

    facts: dict[str, Any]
    findings: list[Finding]

    @property
    def passed(self) -> bool:
        """True when no finding failed (warnings do not count)."""
        return all(finding.verdict != "fail" for finding in self.findings)

    def finding(self, name: str) -> Finding | None:
        """The finding with this name, if that property was judged."""
        return next((finding for finding in self.findings if finding.name == name), None)


def listed(names: Sequence[str], limit: int = 5) -> str:
    """Join names for a sentence: `a, b and 3 more`; long names are cut so a hostile file cannot flood a page."""
    shown = [name if len(name) <= 120 else name[:117] + "..." for name in names[:limit]]
    more = len(names) - len(shown)
    if more > 0:
        return ", ".join(shown) + f" and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
