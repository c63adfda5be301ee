"""Jobs: the row is the truth, the Celery message only a knock on the door."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q

from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.repos.models import Repo


class State(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Queue(models.TextChoices):
    FAST = "fast"
    HEAVY = "heavy"
    GPU = "gpu"


MOVES: dict[str, frozenset[str]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
"""The only moves there are. Running → queued is the reaper's: the worker was lost."""

ENDED = frozenset(state for state, moves in MOVES.items() if not moves)


class JobQuerySet(models.QuerySet["Job"]):
    def visible_to(self, actor: Actor) -> JobQuerySet:
        """Jobs about repos the actor may read, and the actor's own."""
        readable = Q(repo__in=Repo.objects.visible_to(actor))
        own = Q(owner=actor.account) & Q(repo=None) if actor.account else Q(pk__in=[])
        return self.filter(readable | own)


class Job(models.Model):
    """One piece of queued or running work."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=60)
    title = models.CharField(max_length=200)
    queue = models.CharField(max_length=5, choices=Queue.choices, default=Queue.FAST)
    state = models.CharField(max_length=9, choices=State.choices, default=State.QUEUED)
    arguments = models.JSONField(default=dict)
    owner = models.ForeignKey(Account, null=True, blank=True, on_delete=models.SET_NULL, related_name="jobs")
    repo = models.ForeignKey(Repo, null=True, blank=True, on_delete=models.CASCADE, related_name="jobs")
    key = models.CharField(
        max_length=200, null=True, blank=True, unique=True, help_text="The same work is queued once."
    )
    attempt = models.PositiveSmallIntegerField(default=0)
    worker = models.CharField(max_length=120, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)
    done = models.PositiveBigIntegerField(default=0)
    total = models.PositiveBigIntegerField(default=0)
    note = models.CharField(max_length=300, blank=True)
    result = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["state", "lease_until"]),
            models.Index(fields=["repo", "-created_at"]),
            models.Index(fields=["owner", "-created_at"]),
        ]
        constraints = [
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_until__isnull=False), name="running_job_has_a_lease"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.state})"

    def get_absolute_url(self) -> str:
        return f"/jobs/{self.pk}"

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def share(self) -> float:
        """Progress from 0 to 1."""
        if self.state == State.SUCCEEDED:
            return 1.0
        return min(1.0, self.done / self.total) if self.total else 0.0
