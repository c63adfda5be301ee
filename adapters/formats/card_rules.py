"""What a model card and a task card must and should say; what they say is kept as claims, not as facts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

TASK_TYPES = ("text-classification",)
METRICS = ("accuracy", "macro_f1")
MAX_LABELS = 1_000
MAX_LABEL_LENGTH = 200
MAX_ITEMS = 100
_REPO = re.compile(r"(?!\.+(?:/|$))[A-Za-z0-9._-]{1,96}(?:/(?!\.+$)[A-Za-z0-9._-]{1,96})?")
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*|multilingual|code")


@dataclass
class CardReport:
    """Sentences on what must (errors) and should (warnings) be mended, and the claims in one normal form."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    claims: dict[str, Any] = field(default_factory=dict)


def validate_model_card(front: dict[str, Any], *, is_base: bool = False) -> CardReport:
    """Judge the front matter of a base or adapter.

    Claims: base_model, license, task (name of a task repo), pipeline_tag, library_name as text; tags, language,
    datasets, metrics as lists of text. A missing license or base_model is a warning, a wrong type an error; a base
    need not come from another.
    """
    report = CardReport()
    for key in ("license", "pipeline_tag", "library_name"):
        _text(report, front, key)
    for key in ("tags", "language", "metrics"):
        _texts(report, front, key)
    for key in ("base_model", "datasets", "task"):
        _repos(report, front, key)
    for key in ("base_model", "task"):
        names = report.claims.pop(key, [])
        if names:
            report.claims[key] = names[0]
        if len(names) > 1:
            report.warnings.append(f"{key} names {len(names)} repos; only the first, {names[0]}, is used.")
    if "base_model" not in front and not is_base:
        report.warnings.append("The card does not name its base_model, so nobody can find it by its base.")
    _license_and_language(report)
    return report


def validate_task_card(front: dict[str, Any]) -> CardReport:
    """Judge the front matter of a task.

    Claims: type, metric, license as text; labels, language, tags as lists of text. type, labels and metric must be
    there (a type may also stand under task_categories); license should.
    """
    report = CardReport()
    if "type" not in front and isinstance(front.get("task_categories"), list) and front["task_categories"]:
        front = front | {"type": front["task_categories"][0]}
    for key in ("type", "metric", "license"):
        _text(report, front, key)
    for key in ("language", "tags"):
        _texts(report, front, key)
    kind, metric = report.claims.get("type"), report.claims.get("metric")
    if kind not in TASK_TYPES:
        report.errors.append(f"The card needs 'type', one of: {', '.join(TASK_TYPES)}.")
    if metric not in METRICS:
        report.errors.append(f"The card needs 'metric', one of: {', '.join(METRICS)}.")
    _labels(report, front)
    _license_and_language(report)
    return report


def _labels(report: CardReport, front: dict[str, Any]) -> None:
    labels = front.get("labels")
    if not isinstance(labels, list) or not 2 <= len(labels) <= MAX_LABELS:
        report.errors.append(f"The card needs 'labels', a list of 2 to {MAX_LABELS:,} names.")
        return
    names = [str(label).lower() if isinstance(label, bool) else str(label) for label in labels]
    if not all(type(label) in (str, int, float, bool) for label in labels) or not all(
        name.strip() and len(name) <= MAX_LABEL_LENGTH for name in names
    ):
        report.errors.append(f"Each label must be text of 1 to {MAX_LABEL_LENGTH} letters.")
        return
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        report.errors.append(f"The label {twice!r} is listed twice.")
        return
    report.claims["labels"] = names


def _license_and_language(report: CardReport) -> None:
    license_name = report.claims.get("license")
    if license_name is None and not any("license" in error for error in report.errors):
        report.warnings.append("The card names no license, so others do not know whether they may use this.")
    elif license_name is not None and not _LICENSE.fullmatch(license_name):
        del report.claims["license"]
        report.errors.append("license must be a short identifier such as 'apache-2.0' or 'cc-by-4.0'.")
    languages = report.claims.get("language", [])
    odd = [name for name in languages if not _LANGUAGE.fullmatch(name)]
    if odd:
        report.claims["language"] = [name for name in languages if name not in odd]
        report.warnings.append(f"language holds {odd[0][:40]!r}; use codes such as 'en' or 'pt-BR'.")


def _text(report: CardReport, front: dict[str, Any], key: str) -> None:
    value = front.get(key)
    if value is None:
        return
    if not isinstance(value, str) or not value.strip() or len(value) > 200:
        report.errors.append(f"{key} must be one short text.")
        return
    report.claims[key] = value.strip()


def _texts(report: CardReport, front: dict[str, Any], key: str) -> None:
    value = front.get(key)
    if value is None:
        return
    items = value if isinstance(value, list) else [value]
    if key == "metrics" and items and all(isinstance(item, dict) for item in items):
        items = [item.get("type") or item.get("name") for item in items]
    if len(items) > MAX_ITEMS or not all(isinstance(item, str) and 0 < len(item) <= 200 for item in items):
        report.errors.append(f"{key} must be a list of at most {MAX_ITEMS} short texts.")
        return
    report.claims[key] = list(dict.fromkeys(item.strip() for item in items if item.strip()))


def _repos(report: CardReport, front: dict[str, Any], key: str) -> None:
    before = len(report.errors)
    _texts(report, front, key)
    if len(report.errors) > before:
        return
    odd = [name for name in report.claims.get(key, []) if not _REPO.fullmatch(name)]
    if odd:
        report.claims[key] = [name for name in report.claims[key] if name not in odd]
        report.warnings.append(f"{key} holds {odd[0][:80]!r}, which is not the name of a repo ('owner/name').")
    if not report.claims.get(key, [""]):
        del report.claims[key]
