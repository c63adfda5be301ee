"""Answers kept for a day, so that a request sent twice with one key is done once."""

from __future__ import annotations

from django.db import models

from hub.accounts.models import Account


class KeptAnswer(models.Model):
    """What a request with an `Idempotency-Key` was answered. Without a status it is being worked on."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=200)
    request = models.CharField(max_length=64, help_text="sha256 of method, address and body.")
    status = models.PositiveSmallIntegerField(null=True)
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "key"], name="kept_answer_once")]

    def __str__(self) -> str:
        return self.key
