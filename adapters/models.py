"""What is known of each adapter, base and task: inspections, lineage, comparisons."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from hub.jobs.models import Job
from hub.repos.models import Repo


class Inspection(models.Model):
    """What was measured from the bytes of one commit. The verdicts stand beside it as Checks."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="inspections")
    sha = models.CharField(max_length=40)
    facts = models.JSONField(default=dict)
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "sha"], name="inspection_once")]

    def __str__(self) -> str:
        return f"{self.repo} at {self.sha[:7]}"


class Relation(models.TextChoices):
    ADAPTER_OF = "adapter"
    MERGE_OF = "merge"
    TAUGHT_ON = "task"
    BEGUN_FROM = "start"


class Lineage(models.Model):
    """One repo at a commit was made from another."""

    child = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="made_from")
    child_sha = models.CharField(max_length=40)
    parent = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="used_in")
    parent_sha = models.CharField(max_length=40, blank=True)
    relation = models.CharField(max_length=7, choices=Relation.choices)
    weight = models.FloatField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["child", "child_sha", "parent", "relation"], name="lineage_once"),
        ]
        indexes = [models.Index(fields=["parent", "relation"])]

    def __str__(self) -> str:
        return f"{self.child} {self.relation} {self.parent}"


class Tensor(models.Model):
    """One tensor, wherever it stands: its key is a hash over type, shape and bytes, not over its name."""

    key = models.CharField(primary_key=True, max_length=64)
    sha256 = models.CharField(max_length=64, help_text="Of its bytes.")
    dtype = models.CharField(max_length=16)
    shape = ArrayField(models.BigIntegerField())
    nbytes = models.BigIntegerField()
    norm = models.FloatField(null=True)
    smallest = models.FloatField(null=True)
    greatest = models.FloatField(null=True)
    nan = models.BigIntegerField(default=0)
    infinite = models.BigIntegerField(default=0)
    zeros = models.BigIntegerField(default=0)
    histogram = models.JSONField(default=list, help_text="[bin, count]; see adapters.diffs.manifest.BINS.")
    readable = models.BooleanField(default=True)

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape} {self.key[:8]}"


class Manifest(models.Model):
    """The tensors of one safetensors file, by the file's sha256."""

    sha256 = models.CharField(primary_key=True, max_length=64)
    header = models.BinaryField(help_text="The header's bytes as they are in the file.")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.sha256[:8]


class Held(models.Model):
    """A tensor under its name in one file."""

    manifest = models.ForeignKey(Manifest, on_delete=models.CASCADE, related_name="held")
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=1024)
    tensor = models.ForeignKey(Tensor, on_delete=models.PROTECT, related_name="held")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["manifest", "position"], name="held_once")]
        ordering = ["manifest", "position"]

    def __str__(self) -> str:
        return self.name


class TensorPair(models.Model):
    """Numbers of one pair of tensors, measured once. `version` is that of the engine that measured."""

    old = models.CharField(max_length=64)
    new = models.CharField(max_length=64)
    version = models.PositiveSmallIntegerField()
    numbers = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["old", "new", "version"], name="tensor_pair_once")]

    def __str__(self) -> str:
        return f"{self.old[:8]}…{self.new[:8]}"


class Comparison(models.Model):
    """What changed between the weights of two sides, computed once for each pair of fingerprints by a job."""

    left = models.CharField(max_length=64)
    right = models.CharField(max_length=64)
    changes = models.JSONField(default=list)
    summary = models.CharField(max_length=500, blank=True)
    warnings = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["left", "right"], name="comparison_once")]

    def __str__(self) -> str:
        return f"{self.left[:8]}…{self.right[:8]}"


from adapters.embedding_models import Embedding, Kinship, MapPoint  # noqa: E402 - Django looks for models here

__all__ = ["Comparison", "Embedding", "Inspection", "Kinship", "Lineage", "MapPoint", "Relation"]
