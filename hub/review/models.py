"""Change requests, comments, checks and decisions. One table of allowed moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import F, Q

from hub.accounts.models import Account
from hub.jobs.models import Job
from hub.repos.models import DEFAULT_BRANCH, Repo

if TYPE_CHECKING:
    from hub.accounts.actor import Actor


class State(models.TextChoices):
    DRAFT = "draft"
    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


MOVES: dict[str, frozenset[str]] = {
    State.DRAFT: frozenset({State.OPEN, State.CLOSED}),
    State.OPEN: frozenset({State.DRAFT, State.MERGED, State.CLOSED}),
    State.CLOSED: frozenset({State.OPEN}),
    State.MERGED: frozenset(),
}
"""The only moves there are."""


class ChangeRequestQuerySet(models.QuerySet["ChangeRequest"]):
    def visible_to(self, actor: Actor) -> ChangeRequestQuerySet:
        """Those of repos the actor may read."""
        return self.filter(repo__in=Repo.objects.visible_to(actor))

    def open(self) -> ChangeRequestQuerySet:
        """Waiting for a decision, the longest first."""
        return self.filter(state=State.OPEN).order_by("opened_at")


class ChangeRequest(models.Model):
    """Proposed commits (`refs/pr/N`) plus their discussion."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="change_requests")
    number = models.PositiveIntegerField()
    title = models.CharField(max_length=200)
    author = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="change_requests")
    state = models.CharField(max_length=6, choices=State.choices, default=State.DRAFT)
    target = models.CharField(max_length=255, default=f"refs/heads/{DEFAULT_BRANCH}")
    base = models.CharField(max_length=40, help_text="Commit of the target it started from.")
    merged_as = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    opened_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = ChangeRequestQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["repo", "number"], name="change_request_number_once"),
            models.CheckConstraint(condition=~Q(state="merged") | ~Q(merged_as=""), name="merged_as_what"),
        ]
        indexes = [models.Index(fields=["state", "opened_at"])]

    def __str__(self) -> str:
        return f"{self.repo} #{self.number}: {self.title}"

    def get_absolute_url(self) -> str:
        return f"{self.repo.get_absolute_url()}/discussions/{self.number}"

    @property
    def ref(self) -> str:
        """Where its commits are."""
        return f"refs/pr/{self.number}"


class Comment(models.Model):
    """One thing said in a change request, or one thing that happened to it (`kind`)."""

    class Kind(models.TextChoices):
        COMMENT = "comment"
        COMMIT = "commit"
        STATUS = "status-change"
        TITLE = "title-change"
        DECISION = "decision"

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="comments")
    author = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="comments")
    kind = models.CharField(max_length=13, choices=Kind.choices, default=Kind.COMMENT)
    text = models.TextField(max_length=20_000, blank=True)
    data = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    edited_at = models.DateTimeField(null=True, blank=True)
    hidden = models.BooleanField(default=False)

    class Meta:
        ordering = ["created_at", "pk"]

    def __str__(self) -> str:
        return f"{self.author}: {self.text[:40]}"


class Verdict(models.TextChoices):
    PASS = "pass"  # noqa: S105
    WARN = "warn"
    FAIL = "fail"


class Check(models.Model):
    """One automatic verdict on one commit, in one clear sentence."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="checks")
    sha = models.CharField(max_length=40)
    name = models.CharField(max_length=60)
    verdict = models.CharField(max_length=4, choices=Verdict.choices)
    summary = models.CharField(max_length=1000)
    details = models.JSONField(default=dict, blank=True)
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="checks")
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["repo", "sha", "name"], name="check_once")]

    def __str__(self) -> str:
        return f"{self.name}: {self.verdict}"


class Decision(models.Model):
    """What a maintainer said of a change request, bound to the commit they saw."""

    class Verdict(models.TextChoices):
        APPROVE = "approve"
        REQUEST_CHANGES = "request_changes"
        REJECT = "reject"

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="decisions")
    maintainer = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="decisions")
    author = models.ForeignKey(
        Account, null=True, on_delete=models.SET_NULL, related_name="+", help_text="Whose work was decided."
    )
    verdict = models.CharField(max_length=15, choices=Verdict.choices)
    sha = models.CharField(max_length=40)
    reason = models.TextField(max_length=5000, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=~Q(maintainer=F("author")), name="nobody_decides_their_own"),
            models.CheckConstraint(condition=Q(verdict="approve") | ~Q(reason=""), name="a_refusal_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.maintainer}: {self.verdict}"
