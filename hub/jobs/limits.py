"""How much time and memory a kind of job may take, by the names of settings, and how running out of memory shows."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

HARD = 1 / 0.9
"""A job's own soft limit comes first, so that it can say what was too much; the hard one ends its process."""

WORDS = ("can't allocate memory", "out of memory", "bad_alloc", "can't start new thread")
"""What libraries and the interpreter say when there is no memory for them."""


@dataclass(frozen=True)
class Limits:
    """Names of entries of `settings.LIMITS`: seconds by the clock, and bytes of memory of the process."""

    seconds: str
    memory: str

    @property
    def hard_seconds(self) -> float:
        """After this long the process is ended."""
        return float(settings.LIMITS[self.seconds]) * HARD

    @property
    def hard_bytes(self) -> int:
        """More than this the process cannot have."""
        return int(settings.LIMITS[self.memory])

    def too_much_memory(self) -> str:
        """What is said of work that wanted more."""
        return f"It needs more than the {self.hard_bytes // 2**20:,} MiB of memory allowed here, and was stopped."

    def too_long(self) -> str:
        """What is said of work that took longer."""
        return f"It took longer than the {self.hard_seconds:,.0f} seconds allowed here, and was stopped."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out; numerical libraries say it in words of their own."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in WORDS)
