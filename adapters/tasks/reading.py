"""One split of a task from a JSONL, CSV or Parquet file, row by row, with the number of every bad row.

Row numbers are what a person sees: the line in JSONL, the row of a table with its header as row 1 in CSV, the row
counted from 1 in Parquet.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from adapters.formats import strict_json
from adapters.formats.errors import FormatError

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet")
SPLITS = ("train", "validation", "test")
MAX_BYTES = 256 * 1024 * 1024
MAX_ROWS = 200_000
MAX_ROW_BYTES = 1024 * 1024
MAX_TEXT_LENGTH = 100_000
MAX_PROBLEMS = 100
_ALIASES = {"dev": "validation", "valid": "validation", "val": "validation", "eval": "validation"}
_TEXTS = ("text", "text_pair")
_BATCH = 200
_PARQUET_TEXTS = ("string", "large_string", "binary", "large_binary")


@dataclass(frozen=True, slots=True)
class Row:
    """One example: its number in the file, its text, the second text of a pair, and its label as written."""

    number: int
    text: str
    label: str
    text_pair: str | None = None


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is wrong with one row, as a sentence without the row's number."""

    row: int
    message: str


@dataclass
class Split:
    """The good rows of a file, its columns, and the problems of the others (at most 100 kept, all counted)."""

    rows: list[Row] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    problem_count: int = 0

    def complain(self, row: int, message: str) -> None:
        """Count a bad row and keep its sentence while there is room."""
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(RowProblem(row, message))


def split_name(path: str) -> tuple[str, Format] | None:
    """Split and format by a file's name, as in `train.jsonl`, `data/test.csv` or `dev.parquet`; None for others."""
    name = PurePosixPath(path)
    suffix = name.suffix.lower().removeprefix(".")
    stem = name.stem.lower()
    stem = _ALIASES.get(stem, stem)
    for known in FORMATS:
        if suffix == known and stem in SPLITS:
            return stem, known
    return None


def read_split(path: Path, format: Format) -> Split:
    """All rows of one file; bad rows are problems, not errors.

    Raises FormatError when the file as a whole cannot be used: `task_empty`, `task_too_large`, `task_too_many_rows`,
    `task_format`, `task_not_utf8`, `task_columns` (names the columns found when text or label is missing).
    """
    size = path.stat().st_size
    if size == 0:
        raise FormatError("task_empty", "The file is empty. A task file holds one example a row.")
    if size > MAX_BYTES:
        raise FormatError("task_too_large", f"The file is {size:,} bytes; at most {MAX_BYTES:,} are accepted.")
    split = Split()
    if format == "jsonl":
        records = _jsonl(path, split)
    elif format == "csv":
        records = _csv(path, split)
    else:
        records = _parquet(path, split)
    letters = 0
    for number, record in records:
        letters += sum(len(record[column]) for column in _TEXTS if isinstance(record.get(column), str))
        if letters > MAX_BYTES:
            raise FormatError("task_too_large", f"The texts have over {MAX_BYTES:,} letters. Use a part of them.")
        if len(split.rows) >= MAX_ROWS:
            raise FormatError("task_too_many_rows", f"The file holds more than {MAX_ROWS:,} rows. Use a part of it.")
        _take(split, number, record)
    if not split.rows and not split.problem_count:
        raise FormatError("task_empty", "The file holds no row. A task file holds one example a row.")
    return split


def _take(split: Split, number: int, record: dict[str, Any]) -> None:
    message = _text_problem("text", record.get("text")) or _label_problem(record.get("label"))
    pair = record.get("text_pair")
    if message is None and pair is not None:
        message = _text_problem("text_pair", pair) if pair != "" else None
    if message is not None:
        split.complain(number, message)
        return
    split.rows.append(Row(number, record["text"], str(record["label"]).strip(), pair or None))


def _text_problem(column: str, value: Any) -> str | None:
    if value is None:
        return f"{column} is missing."
    if not isinstance(value, str):
        return f"{column} is {_kind(value)}, not text."
    if len(value) > MAX_TEXT_LENGTH:
        return f"{column} has {len(value):,} letters; at most {MAX_TEXT_LENGTH:,} are accepted."
    return _not_text(column, value) or (None if value.strip() else f"{column} is empty.")


def _label_problem(value: Any) -> str | None:
    if value is None:
        return "label is missing."
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return f"label is {_kind(value)}, not text or a whole number."
    return _not_text("label", str(value)) or (None if str(value).strip() else "label is empty.")


def _not_text(column: str, value: str) -> str | None:
    return f"{column} holds the letter NUL (U+0000), which is not text. Remove it." if "\0" in value else None


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "something else")


def _require_columns(split: Split, found: Iterable[str]) -> None:
    split.columns = [str(column).replace("\0", "\ufffd")[:100] for column in found][:100]
    missing = [column for column in ("text", "label") if column not in split.columns]
    if missing:
        names = ", ".join(repr(column) for column in split.columns[:20]) or "none"
        raise FormatError(
            "task_columns",
            f"The column {' and '.join(repr(column) for column in missing)} is missing; the columns found are {names}. "
            "Rename them to 'text', 'label' and, for pairs, 'text_pair'.",
        )


def _jsonl(path: Path, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        if len(line) > MAX_ROW_BYTES:
            split.complain(number, f"the line is over {MAX_ROW_BYTES:,} bytes.")
            continue
        try:
            record = strict_json.loads(line, what="the line", max_bytes=MAX_ROW_BYTES, max_depth=16)
        except FormatError as error:
            split.complain(number, error.message)
            continue
        if not isinstance(record, dict):
            split.complain(number, 'the line is not an object such as {"text": "...", "label": "..."}.')
            continue
        if not split.columns:
            _require_columns(split, record)
        yield number, record


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, a byte order mark dropped; of an endless line only the beginning is kept."""
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_ROW_BYTES + 2):
            number += 1
            kept = line
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_ROW_BYTES + 2)
            yield number, kept.removeprefix(b"\xef\xbb\xbf") if number == 1 else kept


def _csv(path: Path, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(_text_lines(path), strict=True)
    number = 0
    try:
        for number, cells in enumerate(reader, 1):
            if number == 1:
                _require_columns(split, (cell.strip() for cell in cells))
                continue
            if not cells:
                continue
            if len(cells) != len(split.columns):
                split.complain(number, f"the row has {len(cells)} cells but the header has {len(split.columns)}.")
                continue
            record: dict[str, Any] = dict(zip(split.columns, cells, strict=True))
            yield number, record
    except csv.Error as error:
        raise FormatError("task_format", f"Row {number + 1} is not valid CSV: {error}. Check its quotes.") from None


def _text_lines(path: Path) -> Iterator[str]:
    for number, line in _lines(path):
        if len(line) > MAX_ROW_BYTES:
            raise FormatError("task_format", f"Line {number} is over {MAX_ROW_BYTES:,} bytes. Check the file's quotes.")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(
                "task_not_utf8", f"Line {number} is not valid UTF-8 (byte {error.start}). Save the file as UTF-8."
            ) from None
        yield from io.StringIO(text, newline="")


def _parquet(path: Path, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        metadata = parquet.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        _require_columns(split, schema.names)
        if metadata.num_rows > MAX_ROWS:
            raise FormatError("task_too_many_rows", f"The file holds more than {MAX_ROWS:,} rows. Use a part of it.")
        if sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)) > MAX_BYTES:
            raise FormatError("task_too_large", f"Unpacked, the file is over {MAX_BYTES:,} bytes. Use a part of it.")
        wanted = [column for column in (*_TEXTS, "label") if column in split.columns]
        texts = [column for column in wanted if str(schema.field(column).type) in _PARQUET_TEXTS]
        # Texts stay dictionaries while they are measured, so a long text repeated in every row is held once.
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=wanted):
                _check_lengths(batch, number)
                for index in range(batch.num_rows):
                    number += 1
                    yield number, batch.slice(index, 1).to_pylist()[0]
    except UnicodeDecodeError:
        raise FormatError(
            "task_not_utf8", f"Row {number} holds text that is not valid UTF-8. Write it again."
        ) from None
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else "unreadable"
        raise FormatError("task_format", f"The file is not valid Parquet ({reason}). Write it again.") from None


def _check_lengths(batch: Any, before: int) -> None:
    """Refuse a batch whose texts are too long, before any of them becomes a Python string."""
    from pyarrow import DictionaryArray, compute

    for column in batch.columns:
        values = column.dictionary if isinstance(column, DictionaryArray) else column
        if str(values.type) not in _PARQUET_TEXTS or not len(values):
            continue
        longest = compute.max(compute.binary_length(values)).as_py() or 0
        if longest > MAX_ROW_BYTES:
            raise FormatError(
                "task_too_large",
                f"A text after row {before} is {longest:,} bytes; at most {MAX_ROW_BYTES:,} are accepted.",
            )
