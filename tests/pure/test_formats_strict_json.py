"""Strict JSON: hostile texts are refused in sentences, and in work that grows with their length only."""

import re

import pytest

from adapters.formats import strict_json
from adapters.formats.errors import FormatError

MIB = 1 << 20


def refused(data: bytes) -> FormatError:
    with pytest.raises(FormatError) as told:
        strict_json.loads(data, what="The file", max_bytes=4 * MIB)
    return told.value


@pytest.mark.parametrize(
    ("begin", "again"),
    [(b'{"', rb"\""), (b'{"', rb"\\"), (b'{"', b"a"), (b'{"', rb"\x"), (b"", b'"'), (b'["', rb"[\"")],
)
def test_a_mebibyte_without_end_is_refused_at_once(begin: bytes, again: bytes) -> None:
    data = begin + again * (MIB // len(again))
    assert refused(data).code == "json_invalid"  # a second look at each quote would take an hour
    assert refused(data + b"\\").code == "json_invalid"


def test_an_open_string_is_one_match() -> None:
    text = '{"' + '\\"[' * 1000
    found = [match.group() for match in strict_json._STRING_OR_BRACKET.finditer(text)]
    assert found == ["{", text[1:]]


def test_brackets_count_outside_of_strings_only() -> None:
    assert strict_json.loads(b'["[[[\\"[[[", {"]]": "{\\\\"}]', what="x", max_bytes=MIB, max_depth=2)
    assert refused(b"[" * 65 + b"]" * 65).code == "json_too_deep"
    assert refused(b'["\\\\",' * 65).code == "json_too_deep"


@pytest.mark.parametrize(
    "data", [rb'"a\u0000b"', rb'{"a": ["\u0000"]}', rb'{"\u0000": 1}', rb'{"\u0000\u00e4": {"b": "c"}}']
)
def test_the_letter_nul_is_refused(data: bytes) -> None:
    told = refused(data)
    assert told.code == "json_nul" and "U+0000" in told.message
    assert strict_json.loads(rb'["\\u0000", "\u0001"]', what="x", max_bytes=MIB) == [r"\u0000", "\x01"]


def test_half_a_surrogate_pair_is_refused() -> None:
    assert refused(rb'["\ud800"]').code == "json_not_utf8"
    assert re.fullmatch(r"\U0001f600", strict_json.loads(rb'"\ud83d\ude00"', what="x", max_bytes=MIB))
