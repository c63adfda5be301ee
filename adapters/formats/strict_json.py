"""JSON as RFC 8259 means it: what the standard library lets pass and other readers do not is refused here."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from adapters.formats.errors import FormatError

# A string without end is one match too: else every quote in it would be tried as a beginning, each to the end.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{\]}]', re.DOTALL)


def loads(data: bytes, *, what: str, max_bytes: int, max_depth: int = 64) -> Any:
    """Parse `data`, refusing what parsers disagree on.

    `what` names the file in messages. Refused, each with its own code: more than `max_bytes` (`json_too_large`),
    bad UTF-8 (`json_not_utf8`), nesting over `max_depth` (`json_too_deep`), duplicate keys (`json_duplicate_key`),
    NaN, Infinity and numbers without a plain value (`json_number`), lone surrogates (`json_not_utf8`), the letter
    U+0000, which the database keeps in no text (`json_nul`), anything else that is not JSON (`json_invalid`).
    Raises FormatError.
    """
    if len(data) > max_bytes:
        raise FormatError("json_too_large", f"{what} is {len(data):,} bytes; at most {max_bytes:,} are accepted.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            "json_not_utf8", f"{what} is not valid UTF-8 (byte {error.start}). Save it as UTF-8."
        ) from None
    _check_depth(text, what, max_depth)
    try:
        value = json.loads(
            text,
            object_pairs_hook=lambda pairs: _unique(pairs, what),
            parse_constant=lambda name: _refuse_number(name, what),
            parse_int=lambda digits: _integer(digits, what),
            parse_float=lambda digits: _float(digits, what),
        )
    except json.JSONDecodeError as error:
        raise FormatError(
            "json_invalid", f"{what} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    if "\\u" in text:
        _check_letters(value, what)
    return value


def _check_depth(text: str, what: str, limit: int) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        mark = match.group()
        if mark in ("[", "{"):
            depth += 1
            if depth > limit:
                raise FormatError("json_too_deep", f"{what} is nested more than {limit} levels deep. Flatten it.")
        elif mark in ("]", "}"):
            depth -= 1


def _unique(pairs: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise FormatError("json_duplicate_key", f"{what} holds the key {twice[:120]!r} twice. Write each key once.")
    return result


def _refuse_number(text: str, what: str) -> NoReturn:
    raise FormatError("json_number", f"{what} holds the number {text[:40]}, which is not allowed in JSON.")


def _integer(digits: str, what: str) -> int:
    if len(digits) > 40 or digits == "-0":
        _refuse_number(digits, what)
    return int(digits)


def _float(digits: str, what: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        _refuse_number(digits, what)
    return value


def _check_letters(value: Any, what: str) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str):
            if any("\ud800" <= letter <= "\udfff" for letter in item):
                raise FormatError("json_not_utf8", f"{what} holds half a surrogate pair, which is not text.")
            if "\0" in item:
                raise FormatError("json_nul", f"{what} holds the letter NUL (U+0000), which is not text. Remove it.")
