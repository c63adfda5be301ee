"""The panel of a change request whose weights are in conflict: both sides in numbers, and rules that merge them."""

from __future__ import annotations

import json
from glob import escape
from typing import Any

import yaml
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from hub.accounts.actor import Actor
from hub.jobs.models import Job
from hub.review import change_requests
from hub.review.models import ChangeRequest, State
from merges.pages.shared import actor_of, attempt, repo_or_404, request_or_404, signed_in
from merges.threeway import strategies
from merges.work.reconciling import as_recipe, ask_for_merge, ask_for_preview, conflict_of, measured

FREE_RULES = 3


def panel(actor: Actor, row: ChangeRequest) -> dict[str, Any] | None:
    """What the panel shows; None where no weights are in conflict."""
    if row.state not in (State.OPEN, State.DRAFT):
        return None
    conflict = conflict_of(row)
    if conflict is None or not conflict.folders:
        return None
    job = ask_for_preview(actor, conflict)
    running = (
        Job.objects.filter(kind="merges.threeway.merge", arguments__request=row.pk).order_by("-created_at").first()
    )
    done = job is not None and job.state == "succeeded"
    return {
        "job": job,
        "waiting": job is not None and not job.has_ended,
        "merge_job": running,
        "merging": running is not None and not running.has_ended,
        "folders": [
            {"folder": folder, **found, "counted": _counted(found["counts"])}
            for folder, found in (job.result.get("folders", {}) if done and job else {}).items()
        ],
        "others": conflict.others,
        "strategies": strategies(measured(conflict)),
        "recipe": yaml.safe_dump(as_recipe(conflict), sort_keys=False, default_flow_style=None),
        "may": change_requests.may_steer(actor, row),
        "free": range(FREE_RULES),
    }


def _counted(counts: dict[str, int]) -> list[tuple[str, int]]:
    words = {
        "same": "unchanged", "ours": "changed by the target only", "theirs": "changed by the proposal only",
        "agreed": "changed alike by both", "rows": "merged by rows", "conflict": "changed by both",
    }  # fmt: skip
    return [(words[state], counts[state]) for state in words if counts.get(state)]


@signed_in
@require_POST
def start(request: HttpRequest, owner: str, name: str, number: int, task: bool = False) -> HttpResponse:
    """Merge the target into the change request by the rules of the form."""
    row = request_or_404(repo_or_404(request, owner, name, task=task), number)
    job, _error = attempt(request, lambda: ask_for_merge(actor_of(request), row, rules_of(request.POST)))
    return redirect(job.get_absolute_url() if job else row.get_absolute_url())


def rules_of(asked: QueryDict) -> Any:
    """The form as rules: choices for single tensors and files first, then patterns, then what holds for the rest.

    `rules` may hold them as JSON instead.
    """
    if asked.get("rules"):
        try:
            return json.loads(str(asked["rules"]))
        except ValueError:
            return None
    found: list[dict[str, Any]] = [
        {"match": escape(name.partition(":")[2]), "strategy": value}
        for name, value in asked.items()
        if name.startswith(("unit:", "file:")) and value
    ]
    for number in range(FREE_RULES):
        if match := str(asked.get(f"match{number}", "")).strip():
            found.append(_rule(asked, match, str(number)))
    return [*found, _rule(asked, "*", "")]


def _rule(asked: QueryDict, match: str, suffix: str) -> dict[str, Any]:
    strategy = asked.get(f"strategy{suffix}", "mean")
    weights = {side: _number(asked.get(f"{side}{suffix}", "")) for side in ("ours", "theirs")}
    return {"match": match, "strategy": strategy, **{side: value for side, value in weights.items() if value != ""}}


def _number(text: str) -> Any:
    """A number, or the text as it is, so that the rule says what is wrong with it."""
    try:
        return float(text) if text.strip() else ""
    except ValueError:
        return text
