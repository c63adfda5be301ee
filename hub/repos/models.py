"""Repos, their git objects, refs and commits. Objects carry true git ids; a commit is one transaction."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Upper

from hub.accounts.actor import Actor
from hub.accounts.memberships import organisations_of
from hub.accounts.models import Account
from hub.accounts.names import MAX_LENGTH, check_name
from hub.store.models import Blob

DEFAULT_BRANCH = "main"
ZERO_SHA = "0" * 40


class Kind(models.TextChoices):
    BASE = "base"
    ADAPTER = "adapter"
    TASK = "task"
    SYSTEM = "system"


class Standing(models.TextChoices):
    """What the community holds of a repo. Yanked: whoever names the exact commit still gets it. Quarantined: nobody."""

    GOOD = "good"
    YANKED = "yanked"
    QUARANTINED = "quarantined"


class Gate(models.TextChoices):
    """How people get into a gated repo: whoever asks, or whom its owner accepts."""

    AUTO = "auto"
    MANUAL = "manual"


class RepoQuerySet(models.QuerySet["Repo"]):
    def visible_to(self, actor: Actor) -> RepoQuerySet:
        """The repos this actor may read, by the rules of `rights.can`. Everything else looks absent."""
        account, token, repos = actor.account, actor.token, self
        if account is None:
            return repos.filter(private=False, gated="").exclude(standing=Standing.QUARANTINED)
        if not account.is_staff:
            mine = Q(owner=account) | Q(owner__in=organisations_of(account))
            repos = repos.filter(Q(private=False) | mine)
            if not account.is_maintainer:
                repos = repos.filter(~Q(standing=Standing.QUARANTINED) | mine)
                let_in = AccessRequest.objects.letting_in(account).values("repo")
                repos = repos.filter(Q(gated="") | mine | Q(pk__in=let_in))
        if token and token.repos:
            named = Q()
            for repo_id in token.repos:
                owner, _, name = repo_id.partition("/")
                named |= Q(owner__name__iexact=owner, name__iexact=name)
            repos = repos.filter(Q(private=False) | named)
        return repos

    def known_to(self, actor: Actor) -> RepoQuerySet:
        """Those, and the gated ones whose existence is public though their content is not."""
        visible = Repo.objects.visible_to(actor).values("pk")
        return self.filter(Q(pk__in=visible) | Q(private=False, standing=Standing.GOOD) & ~Q(gated=""))

    def with_id(self, repo_id: str) -> RepoQuerySet:
        """Repos called `owner/name`, without regard to case (a model and a task may share a name)."""
        owner, _, name = repo_id.partition("/")
        return self.filter(owner__name__iexact=owner, name__iexact=name)

    def models(self) -> RepoQuerySet:
        """Bases and adapters: what the wire calls models."""
        return self.exclude(kind=Kind.TASK)

    def tasks(self) -> RepoQuerySet:
        """What the wire calls datasets."""
        return self.filter(kind=Kind.TASK)


class Repo(models.Model):
    """A versioned folder `owner/name`. What higher rooms learn of it stands in `facts`, `tags` and `card`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="repos")
    name = models.CharField(max_length=MAX_LENGTH, validators=[check_name])
    kind = models.CharField(max_length=7, choices=Kind.choices, default=Kind.ADAPTER)
    private = models.BooleanField(default=False)
    gated = models.CharField(
        max_length=6, choices=Gate.choices, blank=True, help_text="Everybody knows of it; who is let in reads it."
    )
    head = models.CharField(
        max_length=40, blank=True, help_text="Commit of the default branch; empty before the first."
    )
    description = models.CharField(max_length=300, blank=True)
    lead = models.CharField(max_length=300, blank=True, help_text="First words of README.md at the head.")
    card = models.JSONField(default=dict, blank=True, help_text="Front matter of README.md at the head: claims.")
    facts = models.JSONField(default=dict, blank=True, help_text="What higher rooms measured at the head.")
    tags = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    downloads = models.PositiveBigIntegerField(default=0)
    likes = models.PositiveIntegerField(default=0)
    next_number = models.PositiveIntegerField(default=1, help_text="Of the next change request.")
    standing = models.CharField(max_length=11, choices=Standing.choices, default=Standing.GOOD)
    standing_reason = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now_add=True, db_index=True)

    objects = RepoQuerySet.as_manager()

    class Meta:
        ordering = ["-updated_at"]
        constraints = [
            models.UniqueConstraint(
                F("owner"),
                Lower("name"),
                condition=~Q(kind="task"),
                name="model_name_once",
                violation_error_message="A model repo of that name exists already.",
            ),
            models.UniqueConstraint(
                F("owner"),
                Lower("name"),
                condition=Q(kind="task"),
                name="task_name_once",
                violation_error_message="A task repo of that name exists already.",
            ),
            models.CheckConstraint(
                condition=Q(standing="good") | ~Q(standing_reason=""), name="bad_standing_has_a_reason"
            ),
        ]
        indexes = [
            models.Index("owner", Upper("name"), name="repo_by_upper_name"),
            GinIndex(fields=["tags"], name="repo_tags"),
            models.Index(fields=["kind", "private", "-updated_at"], name="repo_listing"),
            models.Index(F("facts__base"), F("updated_at").desc(), name="repo_by_base"),
        ]

    def __str__(self) -> str:
        return self.full_name

    @property
    def full_name(self) -> str:
        """`owner/name`."""
        return f"{self.owner.name}/{self.name}"

    @property
    def summary(self) -> str:
        """What lists say of it: its description, else the first words of its card, which a gate keeps back."""
        return self.description or ("" if self.gated else self.lead)

    @property
    def is_task(self) -> bool:
        return self.kind == Kind.TASK

    def get_absolute_url(self) -> str:
        return f"/datasets/{self.full_name}" if self.is_task else f"/{self.full_name}"


class FormerName(models.Model):
    """An id that a repo had before it was moved. It leads on to the repo while no other repo has that id."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="former_names")
    full_name = models.CharField(max_length=200, help_text="`owner/name`, lower case.")
    task = models.BooleanField()
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["full_name", "task"], name="former_name_once")]

    def __str__(self) -> str:
        return self.full_name


class AccessRequestQuerySet(models.QuerySet["AccessRequest"]):
    def letting_in(self, account: Account) -> AccessRequestQuerySet:
        """A person's accepted ones: each opens the gate of its repo."""
        return self.filter(account=account, state=AccessRequest.State.ACCEPTED)


class AccessRequest(models.Model):
    """A person asks to read a gated repo, and what was answered."""

    class State(models.TextChoices):
        PENDING = "pending"
        ACCEPTED = "accepted"
        REJECTED = "rejected"

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="access_requests")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="access_requests")
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    text = models.TextField(max_length=2000, blank=True, help_text="What they want it for.")
    reason = models.CharField(max_length=300, blank=True, help_text="Why they were not let in.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = AccessRequestQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["repo", "account"], name="access_asked_once")]

    def __str__(self) -> str:
        return f"{self.account} to {self.repo}: {self.state}"


class ObjectKind(models.TextChoices):
    BLOB = "blob"
    TREE = "tree"
    COMMIT = "commit"


class GitObject(models.Model):
    """One git object of a repo. `data` is its body without git's header; a large file's body is an LFS pointer."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="git_objects")
    sha = models.CharField(max_length=40)
    kind = models.CharField(max_length=6, choices=ObjectKind.choices)
    data = models.BinaryField()
    size = models.BigIntegerField(help_text="Bytes of the file this stands for.")
    large = models.ForeignKey(Blob, null=True, blank=True, on_delete=models.PROTECT, related_name="git_objects")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "sha"], name="git_object_once")]

    def __str__(self) -> str:
        return self.sha


class Ref(models.Model):
    """A name for a commit: `refs/heads/main`, `refs/tags/v1`, `refs/pr/3`."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="refs")
    name = models.CharField(max_length=255)
    target = models.CharField(max_length=40)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "name"], name="ref_once")]
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def short(self) -> str:
        """`main`, `v1`, or `refs/pr/3`."""
        return self.name.removeprefix("refs/heads/").removeprefix("refs/tags/")


class Commit(models.Model):
    """The part of a commit object that lists and pages need, beside the object itself."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="commits")
    sha = models.CharField(max_length=40)
    tree = models.CharField(max_length=40)
    parents = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    author = models.ForeignKey(Account, null=True, blank=True, on_delete=models.SET_NULL, related_name="commits")
    title = models.CharField(max_length=300)
    message = models.TextField(blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "sha"], name="commit_once")]
        indexes = [models.Index(fields=["repo", "-created_at"])]

    def __str__(self) -> str:
        return self.sha[:10]

    @property
    def short(self) -> str:
        return self.sha[:7]


class Like(models.Model):
    """A person's mark on a repo."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="liked")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="liked")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "account"], name="like_once")]

    def __str__(self) -> str:
        return f"{self.account} likes {self.repo}"
