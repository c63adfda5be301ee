"""Examples as people bring them: read, looked through row by row, and parted into what teaches and what tests.

JSONL, CSV, or lines of `text<tab>label` come in; usable rows leave, with a remark for every row that is not plain.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from adapters.formats.errors import FormatError
from adapters.tasks.reading import Format, Row, Split, read_split
from adapters.tasks.validation import normalised

MOST_EXAMPLES = 5_000
MOST_LABELS = 200
MOST_BYTES = 8 * 2**20
LONG_TEXT = 2_000
TEST_FROM = 20
"""From this many examples on, a share of them is held back to test on."""
MAX_ROWS_NAMED = 20

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Remark:
    """What is to be said of some rows; an error stops the teaching. `rows` are numbers as the person sees them."""

    code: str
    severity: Severity
    message: str
    rows: tuple[int, ...] = ()


@dataclass
class Looked:
    """Rows that can be used, how often each label occurs in them, and everything there is to remark."""

    rows: list[Row] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """True when nothing forbids teaching."""
        return all(remark.severity != "error" for remark in self.remarks)

    def say(self, code: str, severity: Severity, message: str, rows: Sequence[int] = ()) -> None:
        """Add a remark; rows are named in the sentence by the caller, and kept here up to a number."""
        self.remarks.append(Remark(code, severity, message, tuple(rows[:MAX_ROWS_NAMED])))


def read_examples(data: bytes, filename: str = "") -> Split:
    """Rows of a pasted text or an uploaded file, with the problems of the bad ones.

    The name's ending decides the form if it has one of ours, else the text does. Raises FormatError for a whole that
    cannot be used: empty, over 8 MiB, not UTF-8, without the columns text and label.
    """
    if len(data) > MOST_BYTES:
        raise FormatError("task_too_large", f"The examples are over {MOST_BYTES // 2**20} MiB. Use a part of them.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:1000]:
        raise FormatError("task_not_utf8", "The file is UTF-16 or no text at all. Save it as UTF-8 and try again.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(
            "task_not_utf8", f"Line {line} is not valid UTF-8 (byte {data[error.start]:#04x}). Save the file as UTF-8."
        ) from None
    if not text.strip():
        raise FormatError("task_empty", "There are no examples. Give every line a text and a label.")
    if text.lstrip().startswith("[") and (listed := _from_list(text, filename)):
        text, filename = listed, "examples.jsonl"
    form = _form(text, filename)
    if form == "lines":
        text, form = _from_lines(text), "jsonl"
    with tempfile.TemporaryDirectory(prefix="tessera-examples-") as folder:
        path = Path(folder) / f"examples.{form}"
        try:
            path.write_text(text, encoding="utf-8", newline="")
        except UnicodeEncodeError:
            raise FormatError("task_not_utf8", "A text holds half of a letter (a lone surrogate). Remove it.") from None
        return read_split(path, form)


def rows_of(values: Sequence[Any]) -> Split:
    """Rows of a program's list of objects {text, label, text_pair?}; row numbers count from 1."""
    lines = [json.dumps(value, ensure_ascii=False) for value in values]
    return read_examples("\n".join(lines).encode("utf-8", "surrogatepass"), "examples.jsonl")


def look(
    split: Split,
    *,
    test: Sequence[Row] = (),
    labels: Sequence[str] = (),
    join: bool = False,
    earlier: Sequence[Row] = (),
) -> Looked:
    """Everything there is to say of the examples, and the rows that remain.

    `test` are rows that specialists are judged on: examples among them are left out. `labels` are those of
    the task that is extended: new ones may come, but one that differs from them only by case or spaces is pointed out,
    as among the rows themselves. `join` makes such labels one. `earlier` are examples taught before.
    """
    looked = Looked()
    for problem in split.problems:
        looked.say("bad_row", "warning", f"Row {problem.row} is left out: {problem.message}", [problem.row])
    rows = _labels(looked, split.rows, labels, join)
    rows = _conflicts_and_duplicates(looked, rows, earlier)
    rows = _leaks(looked, rows, test)
    long = [row.number for row in rows if len(row.text) + len(row.text_pair or "") > LONG_TEXT]
    if long:
        looked.say(
            "long_text",
            "info",
            f"{_rows(long, 'has', 'have')} over {LONG_TEXT:,} letters; only a part is read: the beginning by an "
            "encoder, the end by a language model.",
            long,
        )
    looked.rows = rows
    looked.labels = dict(Counter(row.label for row in rows).most_common())
    looked.remarks += enough(Counter(row.label for row in (*rows, *earlier)))
    return looked


def enough(labels: Mapping[str, int]) -> list[Remark]:
    """Whether there is enough to learn from, and not too much, by how often each label occurs."""
    total = sum(labels.values())
    if total > MOST_EXAMPLES:
        words = f"There are {total:,} examples; at most {MOST_EXAMPLES:,} are taught at once. Use a part of them."
        return [Remark("too_many", "error", words)]
    if len(labels) > MOST_LABELS:
        words = (
            f"There are {len(labels)} different labels; at most {MOST_LABELS} can be taught. Is 'label' the column "
            "you meant? Group rare labels, or teach several specialists."
        )
        return [Remark("many_labels", "error", words)]
    if total < 2:
        words = f"There {'is' if total == 1 else 'are'} {total or 'no'} usable example{'' if total == 1 else 's'}."
        return [Remark("too_few", "error", f"{words} Give at least two, better sixteen for each label.")]
    if len(labels) < 2:
        words = f"All examples have the label {next(iter(labels))!r}: there is nothing to tell apart."
        return [Remark("one_label", "error", f"{words} Add examples of another label.")]
    lonely = sorted(label for label, count in labels.items() if count == 1)
    if not lonely:
        return []
    shown = ", ".join(repr(label) for label in lonely[:5]) + (", …" if len(lonely) > 5 else "")
    words = f"{len(lonely)} of {len(labels)} labels occur once ({shown}); such a label is learned badly"
    return [Remark("rare_label", "warning", f"{words} and never tested.")]


def part(rows: Sequence[Row], share: float, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """(to teach, to test): a share of every label's rows held back, the same ones for the same seed.

    Every label keeps at least one example to learn from; with few examples, or a share of 0, nothing is held back.
    """
    if share <= 0 or len(rows) < TEST_FROM:
        return list(rows), []
    chance = random.Random(seed)  # noqa: S311 - which rows test, not a secret
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row.label].append(row)
    held: set[int] = set()
    for label in sorted(by_label):
        some = by_label[label]
        count = min(len(some) - 1, max(1, round(len(some) * share)) if len(some) > 2 else 0)
        held |= {row.number for row in chance.sample(some, max(0, count))}
    return [row for row in rows if row.number not in held], [row for row in rows if row.number in held]


def to_jsonl(rows: Sequence[Row]) -> bytes:
    """Rows as a split file of a task."""
    lines = []
    for row in rows:
        values = {"text": row.text, "label": row.label}
        if row.text_pair is not None:
            values["text_pair"] = row.text_pair
        lines.append(json.dumps(values, ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()


def alike_labels(labels: Mapping[str, int]) -> dict[str, str]:
    """Labels that differ from a commoner one only by case or spaces: {the rarer: the commoner}."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups[" ".join(label.split()).casefold()].append(label)
    joined: dict[str, str] = {}
    for group in groups.values():
        best = max(group, key=lambda label: (labels[label], label))
        joined |= {label: best for label in group if label != best}
    return joined


def _form(text: str, filename: str) -> Format | Literal["lines"]:
    ending = filename.lower().rpartition(".")[2]
    if ending in ("jsonl", "ndjson", "json"):
        return "jsonl"
    if ending == "csv":
        return "csv"
    first = text.lstrip().splitlines()[0]
    if first.startswith("{"):
        return "jsonl"
    cells = {cell.strip().strip('"').lower() for cell in first.split(",")}
    if "\t" in first and not cells & {"text", "label"}:
        return "lines"
    return "csv"


def _from_lines(text: str) -> str:
    """`text<tab>label` lines as JSONL, line for line, so that row numbers stay; the last tab divides."""
    out = []
    lines = text.splitlines()
    if [name.strip().lower() for name in lines[0].split("\t")] == ["text", "label"]:
        lines[0] = ""  # names of columns are no example
    for line in lines:
        body, tab, label = line.rpartition("\t")
        out.append(json.dumps({"text": body, "label": label} if tab else {"text": line, "label": ""}) if line else "")
    return "\n".join(out) + "\n"


def _from_list(text: str, filename: str) -> str:
    """A JSON list as JSONL: its first item is row 1. Empty for lines that only begin with a bracket."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        if "\t" in text and not filename.lower().endswith((".json", ".jsonl")):
            return ""
        raise FormatError("task_format", f"The text begins as a JSON list but is none: {error}.") from None
    return "\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n"


def _labels(looked: Looked, rows: Sequence[Row], labels: Sequence[str], join: bool) -> list[Row]:
    counts = Counter(row.label for row in rows)
    alike = alike_labels(counts | Counter(dict.fromkeys(labels, 10**9)))
    alike = {label: to for label, to in alike.items() if label in counts}
    if alike and join:
        looked.say("joined", "info", "Joined labels: " + ", ".join(f"{a!r} → {b!r}" for a, b in alike.items()) + ".")
        rows = [replace(row, label=alike.get(row.label, row.label)) for row in rows]
    elif alike:
        found = [row.number for row in rows if row.label in alike]
        pairs = ", ".join(f"{a!r} and {b!r}" for a, b in list(alike.items())[:5])
        looked.say(
            "labels_alike", "error", f"Labels differ only by case or spaces: {pairs} ({_rows(found).lower()}). "
            "Choose to join them, or rename one.", found,
        )  # fmt: skip
    return list(rows)


def _conflicts_and_duplicates(looked: Looked, rows: Sequence[Row], earlier: Sequence[Row]) -> list[Row]:
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    before: dict[tuple[str, str], str] = {normalised(row): row.label for row in earlier}
    for row in rows:
        groups[normalised(row)].append(row)
    kept: list[Row] = []
    conflicts: list[list[int]] = []
    twice: list[list[int]] = []
    known: list[int] = []
    for key, group in groups.items():
        labels = {row.label for row in group} | ({before[key]} if key in before else set())
        if len(labels) > 1:
            conflicts.append([row.number for row in group])
            continue
        if key in before:
            known += [row.number for row in group]
            continue
        if len(group) > 1:
            twice.append([row.number for row in group])
        kept.append(group[0])
    for rows_ in conflicts[:10]:
        where = f"{_rows(rows_, 'has', 'have')} the same text" if len(rows_) > 1 else f"Row {rows_[0]} has a known text"
        looked.say("conflict", "warning", f"{where} with different labels; left out until one is chosen.", rows_)
    if len(conflicts) > 10:
        looked.say("conflict", "warning", f"{len(conflicts) - 10} more texts have different labels and are left out.")
    if twice:
        shown = "; ".join(f"{', '.join(map(str, rows_[:6]))}" for rows_ in twice[:10])
        looked.say(
            "duplicate", "warning", f"The same text and label more than once, taught once: rows {shown}.",
            [number for rows_ in twice for number in rows_],
        )  # fmt: skip
    if known:
        looked.say("known", "info", f"{_rows(known, 'is', 'are')} among the examples taught before.", known)
    return sorted(kept, key=lambda row: row.number)


def _leaks(looked: Looked, rows: list[Row], test: Sequence[Row]) -> list[Row]:
    tested = {normalised(row): row.number for row in test}
    leaks = [(row.number, tested[normalised(row)]) for row in rows if normalised(row) in tested]
    if not leaks:
        return rows
    shown = ", ".join(f"{number} (test row {where})" for number, where in leaks[:10])
    looked.say(
        "leak", "warning", f"Left out, because the specialist is judged on the same text: "
        f"{'row' if len(leaks) == 1 else 'rows'} {shown}{' and more' if len(leaks) > 10 else ''}.",
        [number for number, _ in leaks],
    )  # fmt: skip
    gone = {number for number, _ in leaks}
    return [row for row in rows if row.number not in gone]


def _rows(numbers: Sequence[int], of_one: str = "", of_many: str = "") -> str:
    """The rows by number, and a verb that fits their count: "Row 3 is", "Rows 3, 5 are"."""
    if len(numbers) == 1:
        return f"Row {numbers[0]} {of_one}".rstrip()
    shown = ", ".join(map(str, numbers[:10])) + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")
    return f"Rows {shown} {of_many}".rstrip()
