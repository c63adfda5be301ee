"""The one error this room raises."""

from __future__ import annotations


class FormatError(ValueError):
    """A file broke a rule.

    `code` names the rule (stable, for machines and tests); `message` is one or two sentences for the person who
    sent the file: what is wrong and what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[FormatError], tuple[str, str]]:
        """Keep both fields when the error crosses a process boundary."""
        return type(self), (self.code, self.message)
