"""Scores that a higher room keeps, as the wire tells them: that room registers itself here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from hub.accounts.actor import Actor
from hub.repos.models import Repo


@dataclass(frozen=True)
class Score:
    """One score of one model on one task. `path` is the page that tells how it came about."""

    subject: Repo
    task: Repo
    task_sha: str
    metric: str
    value: float
    verified: bool
    at: datetime
    notes: str
    path: str
    rank: int = 0


Board = Callable[[Actor, Repo, bool], Sequence[Score]]
"""(who asks, the task, bases only?) → its scores by rank."""
Results = Callable[[Actor, Repo], Sequence[Score]]
"""(who asks, the model) → the newest score on each task."""
_kept: list[tuple[Board, Results]] = []


def register_scores(board: Board, results: Results) -> None:
    """Let the room that keeps scores answer for them."""
    _kept.append((board, results))


def boards(actor: Actor, task: Repo, bases_only: bool) -> list[Score]:
    """The leaderboard of a task, as far as the actor may see it."""
    return [score for board, _results in _kept for score in board(actor, task, bases_only)]


def results_of(actor: Actor, subject: Repo) -> list[Score]:
    """A model's newest scores on tasks that the actor may see."""
    return [score for _board, results in _kept for score in results(actor, subject)]
