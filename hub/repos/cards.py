"""README.md front matter: read safely, checked at the door, kept as claims."""

from __future__ import annotations

import datetime
from typing import Any

import yaml

from hub.repos.policy import Candidate, Refused

MAX_FRONT_BYTES = 64 * 1024
MAX_DEPTH = 12
MAX_NODES = 5000


class CardError(Exception):
    """The front matter cannot be read; the message says why."""


class _SafeLoader(yaml.SafeLoader):
    """No aliases: ten lines of them can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise CardError("the front matter uses YAML aliases (&, *), which are not accepted; write the values out.")
        return super().compose_node(parent, index)


def split(text: str) -> tuple[str, str]:
    """(front matter, body). Without a leading `---` line all is body."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.startswith("---\n"):
        return "", text
    front, mark, body = text[4:].partition("\n---")
    if not mark:
        raise CardError("the front matter begins with '---' but has no closing '---' line.")
    return front, body.partition("\n")[2]


def parse(text: str) -> tuple[dict[str, Any], str]:
    """(claims, body) of a card. Raises CardError with a sentence that says what to mend."""
    front, body = split(text)
    if len(front.encode()) > MAX_FRONT_BYTES:
        raise CardError(f"the front matter is larger than {MAX_FRONT_BYTES // 1024} KiB; move text below it.")
    try:
        data = yaml.load(front, Loader=_SafeLoader) if front.strip() else {}  # noqa: S506
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 2})" if mark else ""
        raise CardError(f"the front matter is not valid YAML{where}: {getattr(error, 'problem', error)}.") from error
    except RecursionError as error:
        raise CardError("the front matter is nested too deeply.") from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise CardError("the front matter must be a list of 'key: value' lines.")
    return _plain(data), body


def _plain(value: Any, depth: int = 0, budget: list[int] | None = None) -> Any:
    """The value in JSON's types, bounded in depth and number of nodes."""
    budget = budget if budget is not None else [MAX_NODES]
    budget[0] -= 1
    if depth > MAX_DEPTH or budget[0] < 0:
        raise CardError("the front matter is nested too deeply or has too many values.")
    if isinstance(value, dict):
        return {str(key): _plain(item, depth + 1, budget) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1, budget) for item in value]
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value.replace("\x00", "") if isinstance(value, str) else value
    return str(value)


def check(path: str, candidate: Candidate) -> None:
    """Refuse a card that is not UTF-8 or whose front matter cannot be read. Raises Refused (code `card`)."""
    try:
        parse(candidate.read(0, candidate.size).decode())
    except UnicodeDecodeError as error:
        raise Refused(path, "the card must be UTF-8 text.", code="card") from error
    except CardError as error:
        raise Refused(path, str(error), code="card") from error


def front_matter(data: bytes) -> dict[str, Any]:
    """The claims of a card that passed `check` once."""
    try:
        return parse(data.decode())[0]
    except (CardError, UnicodeDecodeError):
        return {}
