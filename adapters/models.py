"""What is known of each adapter, base and task: inspections, lineage, comparisons."""

from __future__ import annotations

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


class Comparison(models.Model):
    """What changed between two safetensors files, computed once for each pair of hashes by a job."""

    left = models.CharField(max_length=64)
    right = models.CharField(max_length=64)
    changes = models.JSONField(default=list)
    summary = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["left", "right"], name="comparison_once")]

    def __str__(self) -> str:
        return f"{self.left[:8]}…{self.right[:8]}"


from adapters.embedding_models import Embedding, Kinship, MapPoint  # noqa: E402 - Django looks for models here

__all__ = ["Comparison", "Embedding", "Inspection", "Kinship", "Lineage", "MapPoint", "Relation"]
