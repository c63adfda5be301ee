"""The page that says what to start from: paste examples, see near specialists, have the best tried."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from hub.pages.errors import describe
from merges.pages.shared import actor_of
from merges.work.advising import advise
from merges.work.subjects import BadRequest


def page(request: HttpRequest) -> HttpResponse:
    """The form; on POST the advice, with a link to the job when candidates are measured."""
    advice, error, status = None, "", 200
    if request.method == "POST":
        try:
            rows = read_examples(request.POST.get("examples", ""))
            base = request.POST.get("base", "").strip()
            advice = advise(actor_of(request), rows, base, measure="measure" in request.POST)
        except Exception as problem:
            known = describe(problem)
            if known is None:
                raise
            status, _code, error = known
    context = {"asked": request.POST, "advice": advice, "error": error}
    shown = 200 if request.headers.get("HX-Request") else status  # htmx swaps in only what succeeded
    return render(request, "work/advice.html", context, status=shown)


def read_examples(text: str) -> list[dict[str, str]]:
    """Rows `label<TAB>text`, or JSON objects with text and label, one a line. Raises BadRequest with the line."""
    rows = []
    for number, entry in enumerate(text.splitlines()[:1000], start=1):
        if not entry.strip():
            continue
        row: Any = None
        if entry.lstrip().startswith("{"):
            try:
                row = json.loads(entry)
            except (ValueError, RecursionError):
                row = None
        elif "\t" in entry:
            label, _, words = entry.partition("\t")
            row = {"text": words, "label": label}
        elif ";" in entry:
            label, _, words = entry.partition(";")
            row = {"text": words, "label": label}
        if not isinstance(row, dict) or not row.get("text") or row.get("label") in (None, ""):
            raise BadRequest(f"Line {number} is neither 'label; text' nor an object with text and label. Mend it.")
        rows.append({"text": str(row["text"])[:20_000].strip(), "label": str(row["label"])[:200].strip()})
    return rows
