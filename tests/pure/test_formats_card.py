"""Cards: front matter that costs nothing to read, and sentences for what is missing."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.formats.card_rules import validate_model_card, validate_task_card
from hub.repos.frontmatter import CardError, parse_card
from tests.make_adapters import CARD, TASK_CARD

BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
)


def front(text: str) -> dict:
    return parse_card(f"---\n{text}\n---\nbody".encode())[0]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (BOMB, "front_alias"),
        ("a: &x 1", "front_alias"),
        ("a: !!python/object/apply:os.system [ls]", "front_invalid"),
        ("a: !!binary aGk=", "front_invalid"),
        ("a: " + "[" * 200 + "]" * 200, "front_too_deep"),
        ("a: " + "{b: " * 200 + "1" + "}" * 200, "front_too_deep"),
        ("a: [" + "1," * 6000 + "]", "front_too_many"),
        ("a: " + "x" * 70_000, "front_too_large"),
        ("a: 1\na: 2", "front_key"),
        ("? [1, 2]\n: 3", "front_key"),
        ("- a\n- b", "front_invalid"),
        ("a: [1", "front_invalid"),
        ("a: b: c", "front_invalid"),
        ("a: \x07", "front_invalid"),
        (r'a: "b\0c"', "front_invalid"),
        (r'"b\x00c": 1', "front_invalid"),
    ],
)
def test_hostile_front_matter_is_refused_at_once(text: str, code: str) -> None:
    started = time.process_time()
    with pytest.raises(CardError) as caught:
        front(text)
    assert caught.value.code == code
    assert time.process_time() - started < 1


def test_a_two_megabyte_card_is_refused() -> None:
    with pytest.raises(CardError) as caught:
        parse_card(b"x" * 2_000_000)
    assert caught.value.code == "card_too_large"


def test_a_card_that_is_not_text_is_refused() -> None:
    with pytest.raises(CardError) as caught:
        parse_card(b"\xff\xfe")
    assert caught.value.code == "card_not_utf8"


def test_front_and_body_are_parted() -> None:
    assert parse_card(CARD.encode())[1] == "# A tiny specialist\n"
    assert parse_card(CARD.replace("\n", "\r\n").encode())[0] == parse_card(CARD.encode())[0]
    assert parse_card(b"\xef\xbb\xbf---\na: 1\n---\nx") == ({"a": 1}, "x")
    assert parse_card(b"---\n---\nx") == ({}, "x")
    assert parse_card(b"# only a body") == ({}, "# only a body")
    assert parse_card(b"") == ({}, "")


def test_values_stay_what_a_person_wrote() -> None:
    text = "language: [no, en]\ndate: 2024-01-01\nclock: 12:30:00\nhex: 0x10\nyes: on\nsure: true\n"
    text += "n: 3\nx: 1.5\nnone:\nbig: 1e400"
    assert front(text) == {
        "language": ["no", "en"], "date": "2024-01-01", "clock": "12:30:00", "hex": "0x10", "yes": "on", "sure": True,
        "n": 3, "x": 1.5, "none": None, "big": "1e400",
    }  # fmt: skip


@given(st.text(max_size=200))
def test_anything_is_read_or_refused(text: str) -> None:
    data = f"---\n{text}\n---\n".encode("utf-8", "replace")
    try:
        json.dumps(parse_card(data)[0], allow_nan=False)
    except CardError:
        return


def test_a_good_model_card() -> None:
    report = validate_model_card(parse_card(CARD.encode())[0])
    assert (report.errors, report.warnings) == ([], [])
    assert report.claims == {
        "base_model": "acme/tiny-bert", "license": "apache-2.0", "library_name": "peft", "tags": ["lora", "sentiment"],
        "language": ["en"], "datasets": ["acme/reviews"], "task": "acme/reviews", "metrics": ["accuracy"],
    }  # fmt: skip


def test_what_a_model_card_lacks_is_said() -> None:
    assert not any("base_model" in sentence for sentence in validate_model_card({}, is_base=True).warnings)
    report = validate_model_card({})
    assert report.errors == []
    assert [word for word in ("base_model", "license") if any(word in text for text in report.warnings)] == [
        "base_model",
        "license",
    ]
    wrong = validate_model_card({"license": ["a", "b"], "tags": {"a": 1}, "base_model": "../../etc/passwd"})
    assert len(wrong.errors) == 2
    assert "base_model" not in wrong.claims


def test_a_good_task_card() -> None:
    report = validate_task_card(parse_card(TASK_CARD.encode())[0])
    assert (report.errors, report.warnings) == ([], [])
    assert report.claims["labels"] == ["negative", "neutral", "positive"]
    assert (
        validate_task_card(
            {"task_categories": ["text-classification"], "labels": ["0", "1"], "metric": "macro_f1"}
        ).errors
        == []
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "poetry"},
        {"labels": ["one"]},
        {"labels": ["a", "a"]},
        {"labels": ["a", ""]},
        {"metric": "vibes"},
        {"labels": None},
    ],
)
def test_what_a_task_card_must_say(changes: dict) -> None:
    good = {"type": "text-classification", "labels": ["a", "b"], "metric": "accuracy", "license": "mit"}
    assert len(validate_task_card(good | changes).errors) == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=2),
        max_leaves=6,
    ),
    st.sampled_from(
        [
            "license",
            "tags",
            "language",
            "datasets",
            "metrics",
            "base_model",
            "task",
            "type",
            "labels",
            "metric",
            "task_categories",
        ]
    ),
)
def test_any_claim_is_judged_without_error(value: object, key: str) -> None:
    json.dumps(validate_model_card({key: value}).claims)
    json.dumps(validate_task_card({key: value}).claims)
