"""Merges (recipes that ran), evaluations (one subject on one task), suites, and Systems with their releases."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.jobs.models import Job
from hub.repos.models import Repo
from hub.store.models import Blob


class MergeQuerySet(models.QuerySet["Merge"]):
    def visible_to(self, actor: Actor) -> MergeQuerySet:
        """Merges whose result repo the actor may read."""
        return self.filter(repo__in=Repo.objects.visible_to(actor))


class Merge(models.Model):
    """A recipe and what became of it. The result is an ordinary commit in `repo`."""

    owner = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="merges")
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="merges", help_text="Where the result goes.")
    recipe = models.JSONField()
    fingerprint = models.CharField(max_length=64)
    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="merge")
    result_sha = models.CharField(max_length=40, blank=True)
    report = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MergeQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.recipe.get('merge_method')} into {self.repo}"


class MergeComparisonQuerySet(models.QuerySet["MergeComparison"]):
    def visible_to(self, actor: Actor) -> MergeComparisonQuerySet:
        """Comparisons of which the actor may read every adapter, task and base they rest on."""
        readable = Repo.objects.visible_to(actor).values("pk")
        hidden = MergeComparison.rests_on.through.objects.exclude(repo_id__in=readable)
        return self.exclude(pk__in=hidden.values("mergecomparison_id"))


class MergeComparison(models.Model):
    """The same adapters merged in several ways, judged beside the controls. `order` is what was asked, all pinned."""

    owner = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="merge_comparisons")
    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="merge_comparison")
    order = models.JSONField()
    report = models.JSONField(default=dict, blank=True)
    rests_on = models.ManyToManyField(Repo, related_name="merge_comparisons")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MergeComparisonQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{len(self.order.get('methods', []))} ways to merge {len(self.order.get('inputs', []))} adapters"

    def get_absolute_url(self) -> str:
        """Where people see it."""
        return f"/merge/comparisons/{self.pk}"


class MergeSketch(models.Model):
    """Small numbers of one adapter's updates, from which a merge is previewed without its weights."""

    weights_sha256 = models.CharField(max_length=64, unique=True)
    data = models.BinaryField()
    created_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.weights_sha256[:8]


class Origin(models.TextChoices):
    """Who measured a score: this hub, somebody else, or whoever made what is judged."""

    VERIFIED = "verified"
    COMMUNITY = "community"
    CLAIMED = "claimed"


class EvaluationQuerySet(models.QuerySet["Evaluation"]):
    def visible_to(self, actor: Actor) -> EvaluationQuerySet:
        """Evaluations whose subject and task the actor may both read."""
        readable = Repo.objects.visible_to(actor)
        return self.filter(subject__in=readable, task__in=readable)


class Evaluation(models.Model):
    """One adapter, base or merge on one task: scores with their uncertainty and everything needed to repeat them."""

    subject = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="evaluations")
    subject_sha = models.CharField(max_length=40)
    task = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="evaluated")
    task_sha = models.CharField(max_length=40)
    base = models.ForeignKey(Repo, null=True, on_delete=models.SET_NULL, related_name="+")
    base_sha = models.CharField(max_length=40, blank=True)
    split = models.CharField(max_length=20, default="test")
    protocol = models.CharField(max_length=40, blank=True)
    metric = models.CharField(max_length=40, default="accuracy")
    score = models.FloatField(null=True, blank=True)
    standard_error = models.FloatField(null=True, blank=True)
    n = models.PositiveIntegerField(null=True, blank=True)
    scores = models.JSONField(default=dict, blank=True)
    low = models.FloatField(null=True, blank=True, help_text="Lower end of the score's 95 % interval.")
    high = models.FloatField(null=True, blank=True)
    origin = models.CharField(max_length=9, choices=Origin.choices, default=Origin.VERIFIED)
    settings = models.JSONField(default=dict, blank=True, help_text="What differs from the usual settings.")
    settings_key = models.CharField(max_length=16, blank=True)
    content_key = models.CharField(max_length=64, blank=True, db_index=True, help_text="Hash of all that decides it.")
    items = models.ForeignKey(Blob, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    seed = models.BigIntegerField(default=0)
    device = models.CharField(max_length=80, blank=True)
    versions = models.JSONField(default=dict, blank=True)
    seconds = models.FloatField(null=True, blank=True)
    owner = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="evaluations")
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="evaluations")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = EvaluationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["subject", "subject_sha", "task", "task_sha", "split", "seed", "settings_key", "origin"],
                name="evaluation_once",
            ),
            models.CheckConstraint(condition=Q(score=None) | Q(n__gt=0), name="a_score_has_items"),
        ]
        indexes = [
            models.Index(fields=["task", "-score"]),
            models.Index(fields=["task", "subject", "-created_at"], name="newest_of_each_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} on {self.task}"


class TeachingQuerySet(models.QuerySet["Teaching"]):
    def visible_to(self, actor: Actor) -> TeachingQuerySet:
        """Teachings whose specialist and task the actor may both read."""
        readable = Repo.objects.visible_to(actor)
        return self.filter(repo__in=readable, task__in=readable)


class Teaching(models.Model):
    """Examples that became, or become, a specialist: what was asked, how it went, and what it cost.

    The result is an ordinary commit in `repo`; the examples are the train split of `task` at `task_sha`.
    """

    owner = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="teachings")
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="teachings")
    task = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="taught")
    task_sha = models.CharField(max_length=40)
    base = models.ForeignKey(Repo, null=True, on_delete=models.SET_NULL, related_name="+")
    base_sha = models.CharField(max_length=40)
    examples = models.PositiveIntegerField()
    at_most = models.PositiveIntegerField(default=0, help_text="So many of the task's examples; 0: all.")
    settings = models.JSONField(help_text="Every number of the training.")
    start = models.JSONField(default=dict, help_text="What was asked to begin from, what was chosen and why.")
    estimate = models.JSONField(default=dict)
    curve = models.JSONField(default=list)
    checkpoint = models.CharField(max_length=64, blank=True, help_text="Hash of the bytes a new worker goes on from.")
    report = models.JSONField(default=dict, help_text="What it cost and gave.")
    comparison = models.JSONField(default=dict, help_text="The specialist beside what else these examples could do.")
    result_sha = models.CharField(max_length=40, blank=True)
    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="teaching")
    comparing = models.OneToOneField(
        Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="compared_teaching"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TeachingQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["repo", "-created_at"]), models.Index(fields=["owner", "-created_at"])]
        constraints = [models.CheckConstraint(condition=Q(examples__gt=0), name="taught_with_examples")]

    def __str__(self) -> str:
        return f"{self.repo} taught on {self.task}"

    def get_absolute_url(self) -> str:
        return f"/teachings/{self.pk}"

    @property
    def few(self) -> bool:
        """Whether as many examples were taught as were to be used at most: the task may have more."""
        return self.examples == self.at_most


class TeachingAsked(models.Model):
    """One training that a person asked for. It counts for a day, whatever becomes of the repo it was asked for."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["account", "at"])]

    def __str__(self) -> str:
        return f"{self.account}, {self.at:%Y-%m-%d %H:%M}"


class Paired(models.Model):
    """One evaluation against another on the same items: the base, a parent, or the published revision."""

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="paired")
    other = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="+")
    wins = models.PositiveIntegerField()
    losses = models.PositiveIntegerField()
    ties = models.PositiveIntegerField()
    difference = models.FloatField()
    standard_error = models.FloatField()
    low = models.FloatField()
    high = models.FloatField()
    p = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["evaluation", "other"], name="paired_once")]

    def __str__(self) -> str:
        return f"{self.evaluation} against {self.other.subject}"


class SuiteQuerySet(models.QuerySet["Suite"]):
    def newest(self) -> SuiteQuerySet:
        """The newest version of each suite."""
        return self.order_by("name", "-version").distinct("name")


class Suite(models.Model):
    """Tasks at pinned commits with a protocol each. A version never changes; a changed suite is a new version."""

    name = models.SlugField(max_length=60)
    version = models.PositiveIntegerField(default=1)
    title = models.CharField(max_length=120)
    description = models.TextField(max_length=5000, blank=True)
    owner = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="suites")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = SuiteQuerySet.as_manager()

    class Meta:
        ordering = ["name", "-version"]
        constraints = [models.UniqueConstraint(fields=["name", "version"], name="suite_version_once")]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def get_absolute_url(self) -> str:
        return f"/suites/{self.name}/{self.version}"


class SuiteEntry(models.Model):
    """One task of a suite: which commit, which split, which metric, and the protocol's settings."""

    suite = models.ForeignKey(Suite, on_delete=models.CASCADE, related_name="entries")
    task = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="+")
    task_sha = models.CharField(max_length=40)
    split = models.CharField(max_length=20, default="test")
    metric = models.CharField(max_length=40, default="accuracy")
    settings = models.JSONField(default=dict, blank=True)
    settings_key = models.CharField(max_length=16, blank=True)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["suite", "task", "settings_key"], name="suite_entry_once")]

    def __str__(self) -> str:
        return f"{self.task} in {self.suite}"


class ReleaseState(models.TextChoices):
    CANDIDATE = "candidate"
    EVALUATING = "evaluating"
    RELEASED = "released"
    HELD = "held"


RELEASE_MOVES: dict[str, frozenset[str]] = {
    ReleaseState.CANDIDATE: frozenset({ReleaseState.EVALUATING, ReleaseState.HELD}),
    ReleaseState.EVALUATING: frozenset({ReleaseState.CANDIDATE, ReleaseState.RELEASED, ReleaseState.HELD}),
    ReleaseState.HELD: frozenset({ReleaseState.EVALUATING, ReleaseState.RELEASED}),
    ReleaseState.RELEASED: frozenset(),
}
"""The only moves there are. Held: an evaluation failed or a task fell; somebody who may write releases it anyway."""


class Release(models.Model):
    """One version of a System: a commit of its repo, evaluated, and released (or held back)."""

    system = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="releases")
    number = models.PositiveIntegerField()
    sha = models.CharField(max_length=40, help_text="Commit of the System's repo; its system.json pins everything.")
    state = models.CharField(max_length=10, choices=ReleaseState.choices, default=ReleaseState.CANDIDATE)
    changelog = models.TextField(max_length=20_000, blank=True)
    manifest = models.JSONField(default=dict)
    scores = models.JSONField(default=dict, blank=True)
    score = models.FloatField(null=True, blank=True)
    standard_error = models.FloatField(null=True, blank=True)
    held_because = models.CharField(max_length=1000, blank=True)
    generalist = models.ForeignKey(
        Merge, null=True, blank=True, on_delete=models.SET_NULL, related_name="releases",
        help_text="The members merged by the attached recipe; its scores stand in `scores`.",
    )  # fmt: skip
    rolls_back_to = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_by = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["system", "number"], name="release_number_once"),
            models.UniqueConstraint(fields=["system", "sha"], name="release_of_a_commit_once"),
            models.CheckConstraint(condition=~Q(state="released") | Q(released_at__isnull=False), name="released_when"),
        ]

    def __str__(self) -> str:
        return f"{self.system} v{self.number}"
