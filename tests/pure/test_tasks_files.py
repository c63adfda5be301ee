"""Task files: three formats read alike, every bad row named, and splits judged together."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from adapters.formats.errors import FormatError
from adapters.tasks import Row, read_split, reading, resolve_label, split_name, validate
from adapters.tasks.overview import overview

CARD = {"type": "text-classification", "labels": ["good", "bad"], "metric": "accuracy", "license": "mit"}
ROWS = [
    {"text": "Fine, thanks", "label": "good"},
    {"text": "Awful\nreally", "label": "bad"},
    {"text": "So “so”", "label": "1"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def task(folder: Path, **splits: list[tuple[str, str]]) -> dict[str, Path]:
    files = {}
    for name, rows in splits.items():
        files[f"{name}.jsonl"] = write(
            folder / f"{name}.jsonl", [{"text": text, "label": label} for text, label in rows]
        )
    return files


@pytest.mark.parametrize("format", reading.FORMATS)
def test_three_formats_read_alike(format: reading.Format, tmp_path: Path) -> None:
    split = read_split(write(tmp_path / f"train.{format}", ROWS), format)
    assert [(row.text, row.label) for row in split.rows] == [(row["text"], row["label"]) for row in ROWS]
    assert split.columns == ["text", "label"]
    assert split.problems == []
    first = {"jsonl": 1, "csv": 2, "parquet": 1}[format]
    assert [row.number for row in split.rows] == [first, first + 1, first + 2]


@pytest.mark.parametrize("format", reading.FORMATS)
@pytest.mark.parametrize("column", ["text", "label"])
def test_a_row_with_the_letter_nul_is_named(column: str, format: reading.Format, tmp_path: Path) -> None:
    rows = [ROWS[0], ROWS[1] | {column: "a\0b"}, ROWS[2]]
    split = read_split(write(tmp_path / f"train.{format}", rows), format)
    assert [row.text for row in split.rows] == [ROWS[0]["text"], ROWS[2]["text"]]
    (problem,) = split.problems
    assert problem.row == {"jsonl": 2, "csv": 3, "parquet": 2}[format]
    assert "the letter NUL" in problem.message


@pytest.mark.parametrize("format", reading.FORMATS)
def test_a_missing_label_column_names_those_found(format: reading.Format, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="'sentence', 'category'") as caught:
        read_split(write(tmp_path / f"x.{format}", [{"sentence": "a", "category": "b"}]), format)
    assert caught.value.code == "task_columns"
    assert "'text' and 'label'" in caught.value.message


def test_pairs_and_whole_number_labels(tmp_path: Path) -> None:
    rows = [{"text": "a", "text_pair": "b", "label": 0}, {"text": "c", "text_pair": None, "label": 1}]
    for format in ("jsonl", "parquet"):
        split = read_split(write(tmp_path / f"x.{format}", rows), format)
        assert [(row.text_pair, row.label) for row in split.rows] == [("b", "0"), (None, "1")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "", "label": "good"}', "text is empty"),
        (b'{"text": "  \\n", "label": "good"}', "text is empty"),
        (b'{"text": "x"}', "label is missing"),
        (b'{"text": "x", "label": null}', "label is missing"),
        (b'{"text": "x", "label": true}', "label is true or false"),
        (b'{"text": "x", "label": 1.5}', "label is a number"),
        (b'{"text": 3, "label": "good"}', "text is a number"),
        (b'{"text": "\xff", "label": "good"}', "not valid UTF-8"),
        (b'{"text": "x", "label": "good"', "not valid JSON"),
        (b'{"text": "x", "text": "y", "label": "good"}', "twice"),
        (b'["x", "good"]', "not an object"),
        (b'{"text": "' + b"x" * 100_001 + b'", "label": "good"}', "at most 100,000"),
        (b'{"text": "' + b"x" * 3_000_000 + b'", "label": "good"}', "over 1,048,576 bytes"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_kept(line: bytes, message: str, tmp_path: Path) -> None:
    good = b'{"text": "x", "label": "good"}\n'
    path = tmp_path / "train.jsonl"
    path.write_bytes(good + b"\n" + line + b"\n" + good)
    split = read_split(path, "jsonl")
    assert [row.number for row in split.rows] == [1, 4]
    assert [problem.row for problem in split.problems] == [3]
    assert message in split.problems[0].message
    report = validate(CARD, {"train.jsonl": path})
    finding = next(item for item in report.findings if item.name == "readable")
    assert finding.verdict == "fail"
    assert "train.jsonl, row 3: " in finding.summary


@pytest.mark.parametrize(
    ("data", "format", "code"),
    [
        (b"", "jsonl", "task_empty"),
        (b"\n\n", "jsonl", "task_empty"),
        (b"text,label\n", "csv", "task_empty"),
        (b"\xff\xfe,label\n", "csv", "task_not_utf8"),
        (b'text,label\n"open,good\n', "csv", "task_format"),
        (b"text,label\nx," + b"y" * 1_100_000, "csv", "task_format"),
        (b"PAR1 nothing PAR1", "parquet", "task_format"),
        (b"text,label", "parquet", "task_format"),
    ],
)
def test_files_that_cannot_be_used_at_all(data: bytes, format: reading.Format, code: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        read_split(path, format)
    assert caught.value.code == code


def test_csv_rows_are_counted_as_in_a_table(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'\xef\xbb\xbftext,label\r\n"two\r\nlines",good\r\nshort\r\nx,bad\r\n')
    split = read_split(path, "csv")
    assert [(row.number, row.label) for row in split.rows] == [(2, "good"), (4, "bad")]
    assert split.problems[0].row == 3
    assert "1 cells but the header has 2" in split.problems[0].message


def test_a_long_text_in_parquet_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    rows = [{"text": "x" * 2_000_000, "label": "good"}] * 20
    with pytest.raises(FormatError) as caught:
        read_split(write(tmp_path / "x.parquet", rows), "parquet")
    assert caught.value.code == "task_too_large"


def test_parquet_bytes_that_are_not_text_are_named(tmp_path: Path) -> None:
    texts = pyarrow.array([b"ok", b"\xff\xfe"], pyarrow.binary()).view(pyarrow.string())
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"text": texts, "label": ["good", "bad"]}), path)
    with pytest.raises(FormatError, match="Row 2") as caught:
        read_split(path, "parquet")
    assert caught.value.code == "task_not_utf8"


def test_too_many_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reading, "MAX_ROWS", 2)
    for format in reading.FORMATS:
        with pytest.raises(FormatError) as caught:
            read_split(write(tmp_path / f"x.{format}", ROWS), format)
        assert caught.value.code == "task_too_many_rows"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("train.jsonl", ("train", "jsonl")),
        ("data/test.CSV", ("test", "csv")),
        ("dev.parquet", ("validation", "parquet")),
        ("train.json", None),
        ("README.md", None),
        ("training.jsonl", None),
    ],
)
def test_split_names(path: str, expected: tuple[str, str] | None) -> None:
    assert split_name(path) == expected


def test_a_good_task(tmp_path: Path) -> None:
    files = task(tmp_path, train=[("one", "good"), ("two", "1")], test=[("three", "good"), ("four", "bad")])
    report = validate(CARD, files | {"README.md": tmp_path / "none"})
    assert {finding.verdict for finding in report.findings} == {"pass"}
    assert [finding.name for finding in report.findings] == [
        "valid_card", "splits", "readable", "labels", "duplicates", "overlap",
    ]  # fmt: skip
    assert report.facts["splits"]["train"]["labels"] == {"good": 1, "bad": 1}
    assert [row.label for row in report.splits["train"]] == ["good", "bad"]
    json.dumps(report.facts)


GOOD, BAD = ("x", "good"), ("y", "bad")
UNSOUND: dict[str, tuple[dict[str, list[tuple[str, str]]], str, str, str]] = {
    "no test": ({"train": [GOOD, BAD]}, "splits", "fail", "no test split"),
    "no train": ({"test": [GOOD, BAD]}, "splits", "fail", "no train split"),
    "unknown label": (
        {"train": [GOOD, ("b", "ugly")], "test": [BAD]},
        "labels",
        "fail",
        "train, row 2: the label 'ugly'",
    ),
    "absent label": ({"train": [GOOD], "test": [BAD]}, "labels", "warn", "No train row has the label bad"),
    "twice, otherwise": (
        {"train": [("A b!", "good"), ("a  B", "bad")], "test": [BAD]},
        "duplicates",
        "warn",
        "1 of them with another label",
    ),
    "seen in training": (
        {"train": [BAD, ("Cafe\u0301 (au lait)", "good")], "test": [("caf\u00e9 AU lait", "good")]},
        "overlap",
        "fail",
        "row 1 of test (row 2 of train)",
    ),
    "validated on training": (
        {"train": [GOOD, BAD], "validation": [("X!", "good")], "test": [("z", "bad")]},
        "overlap",
        "warn",
        "validation",
    ),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_what_makes_a_task_unsound(name: str, tmp_path: Path) -> None:
    splits, finding, verdict, words = UNSOUND[name]
    report = validate(CARD, task(tmp_path, **splits))
    found = next(item for item in report.findings if item.name == finding)
    assert found.verdict == verdict
    assert words in found.summary
    json.dumps(found.details)


def test_two_files_for_one_split(tmp_path: Path) -> None:
    files = task(tmp_path, train=[("a", "good")], test=[("b", "bad")])
    files["train.csv"] = write(tmp_path / "train.csv", ROWS)
    finding = next(item for item in validate(CARD, files).findings if item.name == "splits")
    assert finding.verdict == "fail"
    assert "train.csv and train.jsonl" in finding.summary


def test_a_broken_card_is_told_and_files_are_still_read(tmp_path: Path) -> None:
    report = validate({}, task(tmp_path, train=[("a", "x")], test=[("b", "y")]))
    assert report.findings[0].verdict == "fail"
    assert report.facts["splits"]["train"]["rows"] == 1
    assert not report.passed


def test_texts_of_marks_or_of_other_scripts_are_not_taken_for_each_other(tmp_path: Path) -> None:
    texts = ["?!", ":-)", "कि", "की", "😀", "😡"]
    rows = [(text, "good") for text in texts] + [("plain", "bad")]
    report = validate(CARD, task(tmp_path, train=rows, test=[("c", "bad"), ("d", "good")]))
    assert report.facts["duplicates"] == {}


def test_resolving_labels() -> None:
    assert resolve_label("bad", ["good", "bad"]) == "bad"
    assert resolve_label("1", ["good", "bad"]) == "bad"
    assert resolve_label("1", ["1", "0"]) == "1"
    assert resolve_label("2", ["good", "bad"]) is None
    assert resolve_label("²", ["good", "bad", "c"]) is None


@given(st.lists(st.tuples(st.text(min_size=1, max_size=6000), st.sampled_from(["a", "b"])), max_size=20))
def test_overview_counts_every_row_once(pairs: list[tuple[str, str]]) -> None:
    rows = [Row(number, text, label) for number, (text, label) in enumerate(pairs, 1)]
    facts = overview(rows, ["b", "a"])
    assert facts["rows"] == sum(facts["labels"].values()) == sum(item["rows"] for item in facts["lengths"]) == len(rows)
    assert len(facts["first_rows"]) == min(10, len(rows))
    for item in facts["lengths"]:
        end = item["to"] or 10**9
        assert item["rows"] == sum(item["from"] <= len(row.text) < end for row in rows)


@settings(max_examples=100)
@given(st.binary(max_size=200), st.sampled_from(reading.FORMATS))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, format: reading.Format
) -> None:
    path = tmp_path_factory.mktemp("task") / "x"
    path.write_bytes(b"text,label\n" + data if format == "csv" else data)
    try:
        split = read_split(path, format)
    except FormatError:
        return
    assert all(row.text.strip() and row.label for row in split.rows)
