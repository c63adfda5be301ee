"""Events: append-only, one for each write."""

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
