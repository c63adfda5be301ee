"""Events: append-only, one for each write. Notices: what of them one person should know."""

from django.db import models


class Event(models.Model):
    """Someone did something, perhaps to a repo."""

    actor = models.ForeignKey("accounts.Account", null=True, on_delete=models.SET_NULL, related_name="events")
    verb = models.CharField(max_length=40)
    repo = models.ForeignKey("repos.Repo", null=True, on_delete=models.CASCADE, related_name="events")
    data = models.JSONField(default=dict)
    at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        ordering = ["-at"]
        indexes = [models.Index(fields=["repo", "-at"])]

    def __str__(self) -> str:
        return f"{self.actor} {self.verb} {self.repo}"


class NoticeKind(models.TextChoices):
    """What a person can be told of; each kind can be switched off, in the site and by mail."""

    MENTION = "mention", "Somebody mentions you"
    COMMENT = "comment", "Something is said where you take part"
    STATE = "state", "A change request of yours is opened, merged or closed"
    DECISION = "decision", "A maintainer decides on your work"
    QUEUE = "queue", "Something waits for you as a maintainer"
    STANDING = "standing", "A repo of yours is yanked or quarantined"
    ACCESS = "access", "Somebody asks to read a gated repo of yours, or your own request is answered"
    RELEASE = "release", "A System that uses your work is released"


class Notice(models.Model):
    """One thing one person should know. It shows only while they may read the repo it is about."""

    account = models.ForeignKey("accounts.Account", on_delete=models.CASCADE, related_name="notices")
    actor = models.ForeignKey("accounts.Account", null=True, on_delete=models.SET_NULL, related_name="+")
    kind = models.CharField(max_length=8, choices=NoticeKind.choices)
    repo = models.ForeignKey("repos.Repo", null=True, on_delete=models.CASCADE, related_name="+")
    text = models.CharField(max_length=300)
    url = models.CharField(max_length=400)
    created_at = models.DateTimeField(auto_now_add=True)
    read_at = models.DateTimeField(null=True, blank=True)
    mailed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        indexes = [models.Index(fields=["account", "read_at", "-created_at"])]

    def __str__(self) -> str:
        return f"{self.account}: {self.text}"


class NoticeChoice(models.Model):
    """A person's choice for one kind of notice; without a row the defaults hold (both)."""

    account = models.ForeignKey("accounts.Account", on_delete=models.CASCADE, related_name="notice_choices")
    kind = models.CharField(max_length=8, choices=NoticeKind.choices)
    in_site = models.BooleanField(default=True)
    by_mail = models.BooleanField(default=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "kind"], name="one_choice_for_each_kind")]

    def __str__(self) -> str:
        return f"{self.account} {self.kind}"
