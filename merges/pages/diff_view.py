"""What a page of changes shows: sentences, heat map, table, one tensor in detail, facts, configurations, texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.http import HttpRequest

from adapters.catalog import comparing
from adapters.catalog.comparing import Compared, FileChange, Pair
from adapters.diffs.grid import grid
from adapters.models import Inspection, Tensor
from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.lines import Work
from hub.repos.models import Commit, Repo
from merges.pages import diff_drawings
from merges.pages.diff_table import KINDS, PAGE, SORTS, STATUSES, filtered, linker, narrowed, options

MOST_LINES = 400
HIDDEN = ("left", "right", "layer", "module")
CONFIGS = ("adapter_config.json", "config.json")


@dataclass(frozen=True)
class Ends:
    """The two revisions of a page, and the page's own address without a query."""

    left_repo: Repo
    left: Commit
    right_repo: Repo
    right: Commit
    address: str

    @property
    def one_repo(self) -> bool:
        return self.left_repo.pk == self.right_repo.pk


def context(request: HttpRequest, actor: Actor, ends: Ends) -> dict[str, Any]:
    """Everything for `work/changes.html`."""
    files = comparing.compare_files(ends.left_repo, ends.left, ends.right_repo, ends.right)
    pairs = comparing.pairs(actor, ends.left_repo, ends.left, ends.right_repo, ends.right)
    found = list(comparing.every(actor, pairs))
    changed = [change for change in files if change.status != "unchanged"]
    return {
        "ends": ends,
        "weights": [_section(request, ends, item, number) for number, item in enumerate(found)],
        "waiting": any(item.job is not None and not item.job.has_ended for item in found),
        "changed_files": [_file(change) for change in changed],
        "unchanged_files": sum(change.status == "unchanged" for change in files),
        "configs": [table for change in files if (table := _config(change))],
        "cards": _cards(ends),
        "same_weights": not pairs and any(change.path.endswith(".safetensors") for change in files),
    }


def beginning(repo: Repo, commit: Commit) -> dict[str, Any]:
    """The same for a commit without a parent: every file is new."""
    files, work = trees.list_files(repo, commit), Work()
    return {
        "changed_files": [_file(FileChange(path, "added", None, file, work)) for path, file in files.items()],
        "unchanged_files": 0,
    }


def _section(request: HttpRequest, ends: Ends, item: Compared, number: int) -> dict[str, Any]:
    """One pair of weights."""
    asked = request.GET
    base = {
        "pair": item.pair, "folder": item.pair.right.folder, "comparison": item.comparison, "job": item.job,
        "title": _title(item.pair), "number": number, "swapped": item.pair.left.repo.pk != ends.left_repo.pk,
    }  # fmt: skip
    if item.comparison is None:
        return base
    rows = [comparing.unpacked(row) for row in item.comparison.changes]
    layout = grid(item.comparison.changes)
    link = linker(ends.address, asked)
    name = f"heat{number}"
    shown = filtered(rows, asked)
    page = Paginator(shown, PAGE).get_page(asked.get("page"))
    steps = diff_drawings.scale(layout)
    return base | {
        "summary": _upper(item.comparison.summary),
        "warnings": item.comparison.warnings,
        "heat_map": diff_drawings.heat_map(layout, lambda row, cell: link(layer=row or "-", module=cell), name),
        "profile": [{"name": word, "value": value, "bar": diff_drawings.bar(value, steps)}
                    for word, value in layout.profile[:14]],
        "legend": diff_drawings.legend(layout),
        "page_obj": page,
        "rows": [row | {"url": link(tensor=row["name"]), "bar": diff_drawings.bar(row["relative_norm"], steps),
                        "kind": KINDS.get(row["update"], "")} for row in page.object_list],
        "total": len(rows),
        "statuses": options(rows, "status", STATUSES, asked.getlist("status")),
        "kinds": options(rows, "update", KINDS, asked.getlist("kind")),
        "sorts": [{"value": name, "title": title, "selected": name == asked.get("sort", "change")}
                  for name, (title, _key) in SORTS.items()],
        "hidden": [{"name": name, "value": asked[name]} for name in HIDDEN if asked.get(name)],
        "filtered": [
            {"words": words, "url": link(**without)}
            for without, words in narrowed(rows, asked)
        ],
        "detail": _detail(rows, asked.get("tensor"), link),
    }  # fmt: skip


def _title(pair: Pair) -> str:
    if not pair.left.files or not pair.right.files:
        return "Weights that only one side has"
    if pair.left.config and pair.right.config:
        return "Two adapters, by what they do"
    if pair.right.config:
        return "What the adapter does to its base" if pair.base is None else "A checkpoint against base and adapter"
    if pair.left.config:
        return "Base and adapter against a checkpoint"
    return "Two checkpoints, tensor by tensor"


def _upper(text: str) -> str:
    return (text[:1].upper() + text[1:]).replace(" %", "\u00a0%")


def _detail(rows: list[dict[str, Any]], name: str | None, link: Callable[..., str]) -> dict[str, Any] | None:
    """One tensor: its numbers in words, both histograms, singular values."""
    row = next((row for row in rows if row["name"] == name), None) if name else None
    if row is None:
        return None
    parts = row["parts"] or []
    keys = {row["old_key"], row["new_key"], *(part.get(side, "") for part in parts for side in ("old_key", "new_key"))}
    held = Tensor.objects.in_bulk([key for key in keys if key])
    drawings = [_histograms(row["name"], held.get(row["old_key"]), held.get(row["new_key"]))]
    drawings += [
        _histograms(part["name"], held.get(part.get("old_key", "")), held.get(part.get("new_key", "")))
        for part in parts
    ]
    spectrum = row["spectrum"]
    return {
        "row": row,
        "kind": KINDS.get(row["update"], ""),
        "close": link(),
        "histograms": [drawing for drawing in drawings if drawing],
        "spectrum": diff_drawings.singular_values(
            spectrum.get("singular_values", ()), spectrum.get("before", ()), spectrum.get("after", ())
        ),
        "with_sides": bool(spectrum.get("before")),
        "parts": parts,
    }


def _histograms(name: str, before: Tensor | None, after: Tensor | None) -> dict[str, Any] | None:
    if before is None and after is None:
        return None
    drawing = diff_drawings.histogram(before.histogram if before else [], after.histogram if after else [])
    return {"name": name, "drawing": drawing, "before": before, "after": after} if drawing else None


def _file(change: FileChange) -> dict[str, Any]:
    """A changed file with the lines of its diff, each with the class that colours it."""
    lines = change.text[: MOST_LINES + 1]
    kinds = {"+": "added", "-": "removed", "@": "place"}
    return {
        "path": change.path, "status": change.status, "left": change.left, "right": change.right,
        "lines": [{"kind": kinds.get(line[:1], ""), "text": line} for line in lines[:MOST_LINES]],
        "more": len(lines) > MOST_LINES,
    }  # fmt: skip


def _config(change: FileChange) -> dict[str, Any] | None:
    """The keys of a configuration that differ, before and after."""
    left, right = change.left, change.right
    if change.path.rpartition("/")[2] not in CONFIGS or change.status != "changed" or not left or not right:
        return None
    try:
        old, new = json.loads(left.read()), json.loads(right.read())
    except ValueError:
        return None
    if not isinstance(old, dict) or not isinstance(new, dict):
        return None
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    rows = [{"name": name, "before": _said(old, name), "after": _said(new, name)} for name in names]
    return {"path": change.path, "rows": rows} if rows else None


def _said(values: dict[str, Any], name: str) -> str:
    return json.dumps(values[name], ensure_ascii=False)[:200] if name in values else "—"


def _cards(ends: Ends) -> list[dict[str, Any]]:
    """Facts of both sides beside each other, if both are known and of one kind; those that differ are marked."""
    if ends.left_repo.kind != ends.right_repo.kind:
        return []
    facts = []
    for repo, commit in ((ends.left_repo, ends.left), (ends.right_repo, ends.right)):
        row = Inspection.objects.filter(repo=repo, sha=commit.sha).first()
        if row is None:
            return []
        facts.append(row.facts)
    rows = []
    for name, label in (
        ("method", "Method"), ("rank", "Rank"), ("scaling", "Scaling"), ("trained_parameters", "Parameters"),
        ("base_parameters", "Base parameters"), ("target_modules", "Targets"), ("dtypes", "Number types"),
        ("labels", "Labels"), ("bytes", "Bytes"), ("model_type", "Model type"),
    ):  # fmt: skip
        before, after = (_fact(side.get(name)) for side in facts)
        if before or after:
            rows.append({"label": label, "before": before or "—", "after": after or "—", "differs": before != after})
    return rows if any(row["differs"] for row in rows) else []


def _fact(value: Any) -> str:
    if isinstance(value, dict | list):
        return ", ".join(map(str, value))[:120]
    return f"{value:,}" if isinstance(value, int) else str(value or "")


def address_of(left_repo: Repo, left: Commit, right_repo: Repo, right: Commit) -> str:
    """The lasting address of a comparison: by commits, never by names that move."""
    if left_repo.pk == right_repo.pk:
        return f"{right_repo.get_absolute_url()}/compare/{left.sha}..{right.sha}"
    sides = {"left": f"{_named(left_repo)}@{left.sha}", "right": f"{_named(right_repo)}@{right.sha}"}
    return f"/compare?{urlencode(sides, safe='/@')}"


def _named(repo: Repo) -> str:
    return f"tasks/{repo.full_name}" if repo.is_task else repo.full_name
