"""Doing a request once however often it is sent: `Idempotency-Key`, kept for a day for each account."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

from django.db.models import Q
from django.utils import timezone
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from hub.accounts.models import Account
from hub.rest.models import KeptAnswer

KEPT = timedelta(hours=24)
ABANDONED = timedelta(minutes=5)
"""A request without an answer for so long died with its process; its key may be used again."""


class InProgress(Exception):
    """The same request is being worked on at this moment."""


class OtherRequest(Exception):
    """The key was used for something else."""


def once(request: Request, work: Callable[[], Response]) -> Response:
    """Do the work, or answer as the first time. A refusal is not kept: mend the request and send it again.

    Raises InProgress, OtherRequest, and what the work raises.
    """
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        return work()
    if len(key) > 200 or not key.isprintable():
        raise ValidationError({"Idempotency-Key": ["Use at most 200 printable letters."]})
    row, made = _row(request, key)
    if not made:
        return _answer_again(request, row)
    try:
        response = work()
    except BaseException:
        row.delete()
        raise
    row.status, row.body = response.status_code, json.loads(json.dumps(response.data, cls=JSONEncoder))
    row.save(update_fields=["status", "body"])
    return response


def _row(request: Request, key: str) -> tuple[KeptAnswer, bool]:
    account = cast("Account", request.user)  # MayWrite lets nobody else through
    now = timezone.now()
    over = Q(created_at__lt=now - KEPT) | Q(status=None, created_at__lt=now - ABANDONED)
    KeptAnswer.objects.filter(over, account=account, key=key).delete()
    return KeptAnswer.objects.get_or_create(account=account, key=key, defaults={"request": _digest(request)})


def _answer_again(request: Request, row: KeptAnswer) -> Response:
    if row.request != _digest(request):
        raise OtherRequest("This Idempotency-Key was used for another request; choose a new one.")
    if row.status is None:
        raise InProgress("This request is being worked on; ask again in a moment.")
    return Response(row.body, status=row.status, headers={"Idempotency-Replayed": "true"})


def _digest(request: Request) -> str:
    body: Any = json.dumps(request.data, sort_keys=True, default=str)
    return hashlib.sha256(f"{request.method} {request.get_full_path()} {body}".encode()).hexdigest()


def forget() -> int:
    """Drop answers older than a day; returns how many."""
    return KeptAnswer.objects.filter(created_at__lt=timezone.now() - KEPT).delete()[0]
