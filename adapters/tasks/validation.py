"""Whether a task can be taught and tested: splits there, columns there, labels known, no test text seen in training."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adapters.formats.card_rules import validate_task_card
from adapters.formats.errors import FormatError
from adapters.formats.findings import Finding, listed
from adapters.tasks.overview import overview
from adapters.tasks.reading import FORMATS, SPLITS, Row, Split, read_split, split_name

MAX_LABELS_SHOWN = 20
MAX_ROWS_NAMED = 50


@dataclass
class TaskReport:
    """Facts (JSON-able) and findings of a whole task; `splits` are the usable rows, labels already resolved."""

    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    splits: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """True when no finding failed."""
        return all(finding.verdict != "fail" for finding in self.findings)


def validate(card: dict[str, Any], files: dict[str, Path]) -> TaskReport:
    """Judge a task: `card` is its front matter, `files` maps names in the repo to local copies.

    Never raises for what the files hold. Facts: {type, metric, labels, splits: {train: {rows, labels, lengths,
    first_rows, ...}}, duplicates, overlap}. Findings: valid_card, splits, readable, labels, duplicates, overlap.
    """
    report = TaskReport()
    claims = _card(report, card)
    labels: list[str] = claims.get("labels", [])
    read = _read(report, files)
    for name in (name for name in SPLITS if name in read):
        report.splits[name] = [
            replace(row, label=resolved)
            for row in read[name].rows
            if (resolved := resolve_label(row.label, labels) if labels else row.label) is not None
        ]
    report.facts = {
        "type": claims.get("type"),
        "metric": claims.get("metric"),
        "labels": labels,
        "splits": {name: overview(rows, labels) for name, rows in report.splits.items()},
    }
    if read:
        _labels(report, labels, read)
        _duplicates(report)
        _overlap(report)
    return report


def resolve_label(label: str, labels: Sequence[str]) -> str | None:
    """The card's label that a row means: by name, else by its index from 0; None when there is none."""
    if label in labels:
        return label
    if label.isascii() and label.isdecimal() and len(label) <= 6 and int(label) < len(labels):
        return labels[int(label)]
    return None


class _OnlyLetters(dict[int, int]):
    """A translation table that fills itself: punctuation, symbols and control characters become spaces."""

    def __missing__(self, code: int) -> int:
        self[code] = 32 if unicodedata.category(chr(code))[0] in "PSZC" else code
        return self[code]


_ONLY_LETTERS = _OnlyLetters()


def normalised(row: Row) -> tuple[str, str]:
    """A row's two texts for comparison: compatible letters folded; case, punctuation and spaces ignored."""
    return _normalised(row.text), _normalised(row.text_pair or "")


def _normalised(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.translate(_ONLY_LETTERS).split()) or folded.strip()


def _card(report: TaskReport, card: dict[str, Any]) -> dict[str, Any]:
    judged = validate_task_card(card)
    details = {"errors": judged.errors, "warnings": judged.warnings}
    if judged.errors:
        report.findings.append(Finding("valid_card", "fail", " ".join(judged.errors), details))
    elif judged.warnings:
        report.findings.append(Finding("valid_card", "warn", " ".join(judged.warnings), details))
    else:
        report.findings.append(Finding("valid_card", "pass", "The card names type, labels, metric and license."))
    return judged.claims


def _read(report: TaskReport, files: dict[str, Path]) -> dict[str, Split]:
    """Read every split file; findings `splits` and `readable`."""
    named: dict[str, list[str]] = {}
    for path in sorted(files):
        found = split_name(path)
        if found is not None:
            named.setdefault(found[0], []).append(path)
    report.findings.append(_splits(named))
    splits: dict[str, Split] = {}
    broken: list[str] = []
    rows: list[dict[str, Any]] = []
    for name, paths in named.items():
        for path in paths[:1]:
            found = split_name(path)
            try:
                splits[name] = read_split(files[path], found[1] if found else FORMATS[0])
            except FormatError as error:
                broken.append(f"{path}: {error.message}")
                continue
            problems = splits[name].problems
            rows += [{"file": path, "row": problem.row, "message": problem.message} for problem in problems]
            if problems:
                count = splits[name].problem_count
                more = f" ({count:,} bad rows in all)" if count > 1 else ""
                broken.append(f"{path}, row {problems[0].row}: {problems[0].message}{more}")
    if broken:
        report.findings.append(Finding("readable", "fail", " ".join(broken), {"rows": rows[:MAX_ROWS_NAMED]}))
    elif splits:
        total = sum(len(split.rows) for split in splits.values())
        report.findings.append(Finding("readable", "pass", f"All {total:,} rows can be read."))
    return splits


def _splits(named: dict[str, list[str]]) -> Finding:
    twice = [paths for paths in named.values() if len(paths) > 1]
    if twice:
        return Finding("splits", "fail", f"{listed(twice[0])} are the same split. Keep one of them.")
    missing = [name for name in ("train", "test") if name not in named]
    details = {"found": sorted(named), "missing": missing}
    if missing:
        forms = ", ".join(f"{missing[0]}.{form}" for form in FORMATS)
        return Finding("splits", "fail", f"There is no {' and no '.join(missing)} split; add one of {forms}.", details)
    return Finding("splits", "pass", f"The splits {listed(sorted(named))} are there.", details)


def _labels(report: TaskReport, labels: list[str], read: dict[str, Split]) -> None:
    if not labels:
        report.findings.append(
            Finding("labels", "fail", "The card lists no labels, so the rows' labels cannot be judged.")
        )
        return
    unknown = [
        {"split": name, "row": row.number, "label": row.label[:100]}
        for name, split in read.items()
        for row in split.rows
        if resolve_label(row.label, labels) is None
    ]
    if unknown:
        first = unknown[0]
        report.findings.append(
            Finding(
                "labels",
                "fail",
                f"{first['split']}, row {first['row']}: the label {first['label']!r} is not in the card's list "
                f"({len(unknown):,} such rows); the list is {listed(labels, MAX_LABELS_SHOWN)}.",
                {"rows": unknown[:MAX_ROWS_NAMED]},
            )
        )
        return
    for name, rows in report.splits.items():
        absent = sorted(set(labels) - {row.label for row in rows})
        if absent and name != "validation":
            report.findings.append(Finding("labels", "warn", f"No {name} row has the label {listed(absent)}."))
            return
    report.findings.append(Finding("labels", "pass", f"Every row has one of the card's {len(labels)} labels."))


def _duplicates(report: TaskReport) -> None:
    counts: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    clashes = 0
    for name, split in report.splits.items():
        seen: dict[tuple[str, str], Row] = {}
        for row in split:
            first = seen.setdefault(normalised(row), row)
            if first is not row:
                counts[name] = counts.get(name, 0) + 1
                clashes += first.label != row.label
                rows.append({"split": name, "row": row.number, "same_as": first.number, "label": row.label})
    report.facts["duplicates"] = counts
    if not rows:
        report.findings.append(Finding("duplicates", "pass", "No text occurs twice in a split."))
        return
    first_found = rows[0]
    other = f", {clashes:,} of them with another label" if clashes else ""
    report.findings.append(
        Finding(
            "duplicates",
            "warn",
            f"{len(rows):,} texts occur twice in their split{other}; the first is row {first_found['row']} of "
            f"{first_found['split']} (as row {first_found['same_as']}).",
            {"rows": rows[:MAX_ROWS_NAMED], "other_label": clashes},
        )
    )


def _overlap(report: TaskReport) -> None:
    """Test or validation texts that also stand in the training split: they would flatter every score."""
    train = {normalised(row): row.number for row in report.splits.get("train", [])}
    rows = [
        {"split": name, "row": row.number, "train_row": train[key]}
        for name in ("test", "validation")
        for row in report.splits.get(name, [])
        if (key := normalised(row)) in train
    ]
    report.facts["overlap"] = len(rows)
    if rows:
        first = rows[0]
        report.findings.append(
            Finding(
                "overlap",
                "fail" if any(row["split"] == "test" for row in rows) else "warn",
                f"{len(rows):,} texts are both in train and in {first['split']}; the first is row {first['row']} of "
                f"{first['split']} (row {first['train_row']} of train). Remove them from one side.",
                {"rows": rows[:MAX_ROWS_NAMED]},
            )
        )
    elif train:
        report.findings.append(Finding("overlap", "pass", "No test text is among the training texts."))
