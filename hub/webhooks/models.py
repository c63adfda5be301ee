"""Webhooks: who wants to be told of what, and where."""

from __future__ import annotations

import secrets

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models

from hub.accounts.models import Account


def new_key() -> str:
    """24 hexadecimal digits, as clients expect of an id."""
    return secrets.token_hex(12)


class Webhook(models.Model):
    """An address that is called when something watched happens. `watched` holds `user:alice`, `model:alice/x`, …"""

    key = models.CharField(max_length=24, unique=True, default=new_key)
    owner = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="webhooks")
    url = models.URLField(max_length=1000)
    watched = ArrayField(models.CharField(max_length=220))
    domains = ArrayField(models.CharField(max_length=12))
    secret = models.CharField(max_length=200, blank=True)
    disabled = models.BooleanField(default=False)
    failures = models.PositiveSmallIntegerField(default=0, help_text="Deliveries in a row that failed.")
    last_error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at"]
        indexes = [GinIndex(fields=["watched"], name="webhook_watched")]

    def __str__(self) -> str:
        return f"{self.url} of {self.owner}"
