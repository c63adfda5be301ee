"""Collections and what is in them."""

from __future__ import annotations

import secrets

from django.db import models
from django.utils.text import slugify

from hub.accounts.models import Account
from hub.repos.models import Repo


def new_key() -> str:
    """24 hexadecimal digits, as clients expect at the end of a slug."""
    return secrets.token_hex(12)


class Collection(models.Model):
    """Repos that somebody put together."""

    key = models.CharField(max_length=24, unique=True, default=new_key)
    owner = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="collections")
    title = models.CharField(max_length=120)
    description = models.CharField(max_length=500, blank=True)
    private = models.BooleanField(default=False)
    theme = models.CharField(max_length=20, default="blue")
    position = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True, db_index=True)

    class Meta:
        ordering = ["-updated_at"]

    def __str__(self) -> str:
        return self.slug

    @property
    def slug(self) -> str:
        """`owner/words-of-the-title-key`; only the key at its end counts."""
        words = slugify(self.title)[:60].strip("-")
        return f"{self.owner.name}/{words}-{self.key}" if words else f"{self.owner.name}/{self.key}"


class Item(models.Model):
    """A repo in a collection."""

    key = models.CharField(max_length=24, unique=True, default=new_key)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="items")
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="in_collections")
    note = models.CharField(max_length=500, blank=True)
    position = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["position", "pk"]
        constraints = [models.UniqueConstraint(fields=["collection", "repo"], name="repo_once_in_a_collection")]

    def __str__(self) -> str:
        return f"{self.repo} in {self.collection}"
