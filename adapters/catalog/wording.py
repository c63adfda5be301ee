"""What changed inside weights, as lines of text: for diffs that are read in a terminal."""

from __future__ import annotations

from adapters.catalog import comparing
from adapters.diffs.summary import percent
from hub.accounts.actor import NOBODY
from hub.repos.models import Commit, Repo

MOST_LINES = 40


def words(repo: Repo, before: Commit, after: Commit) -> dict[str, list[str]]:
    """Path of a weights file → its sentence and its largest changes, as far as they have been compared."""
    found: dict[str, list[str]] = {}
    for pair in comparing.pairs(NOBODY, repo, before, repo, after):
        comparison = comparing.compared(NOBODY, pair, ask=False).comparison
        changed = [file.path for file in pair.right.files if file not in pair.left.files]
        if comparison is None or not changed:
            continue
        rows = [comparing.unpacked(row) for row in comparison.changes if row["status"] != "unchanged"]
        rows.sort(key=lambda row: -(row["relative_norm"] or 0.0))
        lines = [comparison.summary, *comparison.warnings]
        lines += [
            f"  {row['status']:<10} {_amount(row):>9}  {row['update']:<9} {row['name']}" for row in rows[:MOST_LINES]
        ]
        if len(rows) > MOST_LINES:
            lines.append(f"  and {len(rows) - MOST_LINES:,} more")
        found[changed[0]] = lines
    return found


def _amount(row: dict[str, object]) -> str:
    value = row["relative_norm"]
    return percent(value) if isinstance(value, float) and row["status"] in ("changed", "cast") else ""
