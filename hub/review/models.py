"""Change requests, comments, checks, decisions, and what the queue knows of them. One table of allowed moves."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.jobs.models import Job
from hub.repos.models import DEFAULT_BRANCH, Repo
from hub.store.models import Blob


class State(models.TextChoices):
    DRAFT = "draft"
    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


MOVES: dict[str, frozenset[str]] = {
    State.DRAFT: frozenset({State.OPEN, State.CLOSED}),
    State.OPEN: frozenset({State.DRAFT, State.MERGED, State.CLOSED}),
    State.CLOSED: frozenset({State.OPEN, State.DRAFT}),
    State.MERGED: frozenset(),
}
"""The only moves there are."""


class Risk(models.IntegerChoices):
    LOW = 0
    MEDIUM = 1
    HIGH = 2


class ChangeRequestQuerySet(models.QuerySet["ChangeRequest"]):
    def visible_to(self, actor: Actor) -> ChangeRequestQuerySet:
        """Those of repos the actor may read."""
        return self.filter(repo__in=Repo.objects.visible_to(actor))

    def open(self) -> ChangeRequestQuerySet:
        """Waiting for a decision, the longest first."""
        return self.filter(state=State.OPEN).order_by("opened_at")

    def locked(self, request: ChangeRequest) -> ChangeRequest:
        """The same one as it is now, held until the transaction ends, so that what is decided of it still holds."""
        return self.select_for_update(of=("self",)).select_related("repo__owner", "author").get(pk=request.pk)


class ChangeRequest(models.Model):
    """Proposed commits (`refs/pr/N`) plus their discussion."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="change_requests")
    number = models.PositiveIntegerField()
    title = models.CharField(max_length=200)
    author = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="change_requests")
    state = models.CharField(max_length=6, choices=State.choices, default=State.DRAFT)
    talk = models.BooleanField(
        default=False, help_text="A discussion: a draft to which nothing has been proposed yet, nor need be."
    )
    target = models.CharField(max_length=255, default=f"refs/heads/{DEFAULT_BRANCH}")
    base = models.CharField(max_length=40, help_text="Commit of the target it started from.")
    merged_as = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    opened_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True, help_text="When a maintainer should have decided.")
    risk = models.PositiveSmallIntegerField(choices=Risk.choices, default=Risk.LOW)
    assigned = models.ForeignKey(Account, null=True, blank=True, on_delete=models.SET_NULL, related_name="assigned")
    reply_by = models.DateTimeField(null=True, blank=True, help_text="The contributor was asked to answer by then.")
    two_people = models.BooleanField(default=False, help_text="Two maintainers must approve the same commit.")
    approver = models.ForeignKey(Account, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    second_approver = models.ForeignKey(Account, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    objects = ChangeRequestQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["repo", "number"], name="change_request_number_once"),
            models.CheckConstraint(condition=~Q(state="merged") | ~Q(merged_as=""), name="merged_as_what"),
            models.CheckConstraint(
                condition=Q(second_approver=None) | (Q(approver__isnull=False) & ~Q(approver=F("second_approver"))),
                name="two_people_are_two",
            ),
            models.CheckConstraint(
                condition=~Q(state="merged") | Q(two_people=False) | Q(approver=None) | ~Q(second_approver=None),
                name="approved_by_two_where_two_must",
            ),
        ]
        indexes = [models.Index(fields=["state", "opened_at"]), models.Index(fields=["state", "due_at"])]

    def __str__(self) -> str:
        return f"{self.repo} #{self.number}: {self.title}"

    def get_absolute_url(self) -> str:
        return f"{self.repo.get_absolute_url()}/discussions/{self.number}"

    @property
    def ref(self) -> str:
        """Where its commits are."""
        return f"refs/pr/{self.number}"

    @property
    def shown_state(self) -> str:
        """Its state; a discussion is called one, not a draft."""
        return "discussion" if self.talk and self.state == State.DRAFT else self.state


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


class Attachment(models.Model):
    """A picture that somebody sent to show it in comments. Its key cannot be guessed, but opens nothing by itself."""

    key = models.CharField(max_length=32, unique=True)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="attachments")
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")
    suffix = models.CharField(max_length=4)
    comments = models.ManyToManyField(Comment, related_name="attachments", help_text="Those that show it.")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    def __str__(self) -> str:
        return self.key

    def get_absolute_url(self) -> str:
        """Where its bytes are."""
        return f"/uploads/{self.key}.{self.suffix}"


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
        REQUEST_INFO = "request_info"

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="decisions")
    maintainer = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="decisions")
    author = models.ForeignKey(
        Account, null=True, on_delete=models.SET_NULL, related_name="+", help_text="Whose work was decided."
    )
    verdict = models.CharField(max_length=15, choices=Verdict.choices)
    sha = models.CharField(max_length=40)
    reason = models.TextField(max_length=5000, blank=True)
    rule = models.ForeignKey("review.AutoRule", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["-created_at"])]
        constraints = [
            models.CheckConstraint(condition=~Q(maintainer=F("author")), name="nobody_decides_their_own"),
            models.CheckConstraint(condition=Q(verdict="approve") | ~Q(reason=""), name="a_refusal_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.maintainer}: {self.verdict}"


class Reason(models.TextChoices):
    """Why something waits for a maintainer."""

    PROPOSAL = "proposal", "A change was proposed"
    NEW_BASE = "new_base", "A base that others build on"
    SYSTEM = "system", "Proposed to a System"
    HIGH_CHECK = "high_check", "A check found a high risk"
    FAILED_CHECK = "failed_check", "A check failed"
    ANSWERED = "answered", "The contributor answered"
    OVERDUE_ANSWER = "overdue_answer", "No answer came in time"
    SECOND_PERSON = "second_person", "Approved once, needs a second person"
    HANDED_OVER = "handed_over", "Handed over"


class QueueReason(models.Model):
    """One reason for which a change request is in the queue; it holds until `ended_at`."""

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="reasons")
    reason = models.CharField(max_length=15, choices=Reason.choices)
    note = models.CharField(max_length=300, blank=True)
    since = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["since", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["change_request", "reason"], condition=Q(ended_at=None), name="one_row_for_each_reason"
            )
        ]

    def __str__(self) -> str:
        return f"{self.change_request}: {self.reason}"


class QueueStay(models.Model):
    """One stay in the queue, from entry to exit: what the statistics are made of."""

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="stays")
    entered_at = models.DateTimeField()
    left_at = models.DateTimeField(null=True, blank=True)
    left_as = models.CharField(max_length=15, blank=True)

    class Meta:
        ordering = ["entered_at"]
        constraints = [
            models.UniqueConstraint(fields=["change_request"], condition=Q(left_at=None), name="one_stay_at_a_time")
        ]
        indexes = [models.Index(fields=["left_at"])]

    def __str__(self) -> str:
        return f"{self.change_request} since {self.entered_at}"


class Look(models.Model):
    """A maintainer has this open now. It informs and never locks."""

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="looks")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["change_request", "account"], name="one_look_each")]

    def __str__(self) -> str:
        return f"{self.account} looks at {self.change_request}"


class PrivateNote(models.Model):
    """What maintainers tell each other about a change request. Nobody else ever sees it, its author least of all."""

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="notes")
    author = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="+")
    text = models.TextField(max_length=5000)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return f"{self.author}: {self.text[:40]}"


class DelayedRejection(models.Model):
    """A rejection that takes effect at `at` unless new commits come before."""

    change_request = models.OneToOneField(ChangeRequest, on_delete=models.CASCADE, related_name="delayed_rejection")
    maintainer = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    sha = models.CharField(max_length=40)
    reason = models.TextField(max_length=5000)
    at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.change_request} on {self.at:%Y-%m-%d}"


class AutoRule(models.Model):
    """A written rule by which small, clean changes of proven contributors are accepted; some are sampled for review."""

    name = models.CharField(max_length=80, unique=True)
    owner = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="+", help_text="In whose name it decides."
    )
    enabled = models.BooleanField(default=True)
    accepted_before = models.PositiveSmallIntegerField(default=3, help_text="Accepted changes the author must have.")
    most_files = models.PositiveSmallIntegerField(default=3, help_text="Files it may change.")
    only_text = models.BooleanField(default=True, help_text="It may not change weights.")
    sample = models.FloatField(default=0.2, help_text="Share of accepted changes shown to a maintainer later.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=Q(sample__gte=0, sample__lte=1), name="a_sample_is_a_share")]

    def __str__(self) -> str:
        return self.name


class Sample(models.Model):
    """A decision made by a rule, for a maintainer to look at afterwards."""

    decision = models.OneToOneField(Decision, on_delete=models.CASCADE, related_name="sampled")
    seen_by = models.ForeignKey(Account, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    seen_at = models.DateTimeField(null=True, blank=True)
    agreed = models.BooleanField(null=True, blank=True)

    def __str__(self) -> str:
        return f"sample of {self.decision}"


class CannedReply(models.Model):
    """What maintainers say often, said well once, by group. A start to edit, never sent unread."""

    group = models.CharField(max_length=40)
    title = models.CharField(max_length=80)
    text = models.TextField(max_length=5000)
    changed_by = models.ForeignKey(Account, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["group", "title"]
        constraints = [
            models.UniqueConstraint(
                fields=["group", "title"], name="one_reply_of_a_title",
                violation_error_message="This group has a reply of that title already.",
            ),
            models.CheckConstraint(condition=~Q(group="") & ~Q(title="") & ~Q(text=""), name="a_reply_says_something"),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.group}: {self.title}"


class Reaction(models.Model):
    """A small sign on a comment."""

    class Sign(models.TextChoices):
        YES = "yes", "👍"
        NO = "no", "👎"
        THANKS = "thanks", "❤️"
        PARTY = "party", "🎉"
        LOOKING = "looking", "👀"
        PUZZLED = "puzzled", "😕"

    comment = models.ForeignKey(Comment, on_delete=models.CASCADE, related_name="reactions")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    sign = models.CharField(max_length=8, choices=Sign.choices)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["comment", "account", "sign"], name="one_reaction_of_a_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.sign}"


class Subscription(models.Model):
    """Whether a person wants notices of a change request; without a row, those who take part do."""

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="subscriptions")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    on = models.BooleanField(default=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["change_request", "account"], name="one_subscription_each")]

    def __str__(self) -> str:
        return f"{self.account} {'follows' if self.on else 'mutes'} {self.change_request}"
