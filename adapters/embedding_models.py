"""Where each adapter and task is placed: vectors with their provenance, kinship of updates, points of the map."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from pgvector.django import HalfVectorField

from hub.accounts.actor import Actor
from hub.jobs.models import Job
from hub.repos.models import Repo


class VectorDims(models.Func):
    """How many numbers a stored vector has, as the conditions of the vectors' indexes say it."""

    function = "vector_dims"
    output_field = models.IntegerField()


class EmbeddingQuerySet(models.QuerySet["Embedding"]):
    def visible_to(self, actor: Actor) -> EmbeddingQuerySet:
        """Vectors of repos the actor may read, made from nothing that the actor may not read."""
        readable = Repo.objects.visible_to(actor).values("pk")
        return self.filter(Q(source=None) | Q(source__in=readable), repo__in=readable)


class Embedding(models.Model):
    """One repo's head, placed by one method. Vectors compare only within one method, version and probe.

    `rows` holds the vectors of the single examples (float16, row after row) and `texts` their words, where given.
    `source` is the task whose texts were used, if they are not the repo's own: its rights apply to this row too.
    """

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="embeddings")
    sha = models.CharField(max_length=40)
    method = models.CharField(max_length=30)
    version = models.PositiveSmallIntegerField()
    probe = models.CharField(max_length=64, help_text="sha256 of the encoder's or base's weights.")
    vector = HalfVectorField()
    rows = models.BinaryField(null=True, blank=True)
    count = models.PositiveIntegerField(default=0, help_text="How many examples it was made from.")
    texts = models.JSONField(default=list, blank=True)
    source = models.ForeignKey(Repo, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    source_sha = models.CharField(max_length=40, blank=True)
    origin = models.CharField(max_length=20, help_text="weights, examples, vectors or task.")
    details = models.JSONField(default=dict, blank=True)
    seconds = models.FloatField(default=0.0)
    device = models.CharField(max_length=40, blank=True)
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now=True)

    objects = EmbeddingQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "method"], name="embedding_once")]
        indexes = [models.Index(fields=["method", "probe"])]

    def __str__(self) -> str:
        return f"{self.method} of {self.repo}"


class Kinship(models.Model):
    """The exact cosine of two adapters' updates, and where they agree. Each pair once, the smaller id first."""

    left = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="+")
    right = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="+")
    cosine = models.FloatField()
    places = models.JSONField(default=list, help_text="[place, cosine], the strongest first.")
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["left", "right"], name="kinship_once"),
            models.CheckConstraint(condition=Q(left__lt=F("right")), name="kinship_in_order"),
        ]
        indexes = [models.Index(fields=["right"])]

    def __str__(self) -> str:
        return f"{self.left} ~ {self.right}: {self.cosine:.3f}"


class MapPoint(models.Model):
    """Where a repo is drawn on the map. A point keeps its place until the map is drawn anew (a new `layout`)."""

    repo = models.OneToOneField(Repo, on_delete=models.CASCADE, related_name="map_point")
    embedding = models.ForeignKey(Embedding, on_delete=models.CASCADE, related_name="+")
    x = models.FloatField()
    y = models.FloatField()
    layout = models.PositiveIntegerField(default=1)
    fitted = models.BooleanField(default=False, help_text="Shaped the layout, instead of being laid into it later.")
    created_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.repo} at {self.x:.2f}, {self.y:.2f}"
