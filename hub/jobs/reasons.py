"""Why a try of a job failed, in words: people read them while it waits for another."""

from __future__ import annotations

import traceback

from hub.jobs.running import TryAgain
from hub.store.blobs import WrongBytes
from hub.store.objects import StoreError

TOLD = (TryAgain, StoreError, WrongBytes)
"""Errors whose message is a sentence for people."""
MOST = 2000


def reason_of(error: Exception) -> str:
    """The sentence, where the error is one; else its last line as Python tells it, at most 2,000 characters."""
    words = str(error) if isinstance(error, TOLD) else "".join(traceback.format_exception_only(error)).strip()
    return words[-MOST:]
