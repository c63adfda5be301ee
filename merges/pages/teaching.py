"""The teach page, and one teaching: its curve live, what was decided, what it cost, and how it compares."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from adapters.catalog.snippets import snippets
from adapters.models import Inspection
from adapters.search.filters import Filters
from adapters.search.listing import listing
from hub import rights
from hub.accounts.actor import Actor
from hub.numerals import whole
from hub.repos.models import Commit, Kind
from merges.evaluation.metrics import title
from merges.models import Teaching
from merges.pages.curves import accuracy_drawing, loss_drawing
from merges.pages.jobs import shown as shown_job
from merges.pages.merging import number
from merges.pages.shared import actor_of, attempt, signed_in
from merges.training.settings import TITLES, Settings, title_of
from merges.work.subjects import BadRequest
from merges.work.teaching import asking, comparing, judged, preview, quota, showing

NUMBERS = (
    ("epochs", "Epochs"), ("learning_rate", "Learning rate"), ("batch_size", "Batch size"), ("rank", "LoRA rank"),
    ("max_length", "Tokens a text"), ("folds", "Folds"),
)  # fmt: skip
MOST_SHOWN = 1_000_000
"""Letters of an uploaded file that are put back into the form after a check, so that nothing has to be chosen again."""


@signed_in
def teach(request: HttpRequest) -> HttpResponse:
    """The form; on POST the examples are checked ("check") or taught from."""
    actor, asked = actor_of(request), request.POST or request.GET
    found, error, text = None, "", asked.get("examples", "")
    if request.method == "POST":
        given, filename = given_by(request)
        if given is not None and len(given) <= MOST_SHOWN:
            with suppress(UnicodeDecodeError):  # a file in another encoding is sent again, never half of it
                text = given.decode()
        order, error = attempt(request, lambda: order_from(request.POST, given, filename))
        made = None
        if order and "check" not in asked and "check_join" not in asked:
            made, error = attempt(request, lambda: asking.ask_for_teaching(actor=actor, order=order))
        if made:
            return redirect(made.get_absolute_url())
        if order:
            look = partial(preview.look_ahead, actor=actor, order=order)
            found, refused = attempt(request, look, announced=not error)  # it would say the same once more
            error = error or refused
    return render(
        request, "work/teach.html",
        _choices(actor, asked) | {"found": found, "error": error, "text": text, "join": _joins(asked)},
        status=422 if error else 200,
    )  # fmt: skip


def given_by(request: HttpRequest) -> tuple[bytes | None, str]:
    """(examples, file's name) of a form; an uploaded file goes before pasted text."""
    file = request.FILES.get("file")
    if file:
        return file.read(), file.name or ""
    return request.POST.get("examples", "").encode("utf-8", "surrogatepass") or None, ""


def order_from(asked: Any, given: bytes | None, filename: str) -> asking.Order:
    """The order a form describes; empty numbers are the method's own. Raises BadRequest for what is no number."""
    if given is not None and not given.strip() and asked.get("task"):
        given = None
    values = {name: number(asked[name].strip()) for name, _ in NUMBERS if asked.get(name, "").strip()}
    share = number(asked.get("test_share", "").strip() or str(asking.TEST_SHARE))
    if not isinstance(share, int | float) or not 0 <= share <= 0.5:
        raise BadRequest("The share held back to test on must lie between 0 and 0.5.")
    return asking.Order(
        target=asked.get("target", ""), given=given, filename=filename,
        task=asked.get("task", ""), base=asked.get("base", ""), method=asked.get("method", "auto"), settings=values,
        start=asked.get("start", "auto"), seed=_whole(asked, "seed", "The seed"),
        private=True if asked.get("private") == "on" else None, join=_joins(asked), test_share=share,
        at_most=_whole(asked, "at_most", "The number of examples to use"),
        license=asked.get("license", "").strip() or "other",
    )  # fmt: skip


def _joins(asked: Any) -> bool:
    return "on" in (asked.get("join"), asked.get("check_join"))


def _whole(asked: Any, name: str, title: str) -> int:
    """A whole number of the form, 0 where there is none. Raises BadRequest."""
    text = asked.get(name, "").strip()
    value = whole(text or "0", most=2**31 - 1)
    if value is None:
        raise BadRequest(f"{title} is {text[:20]!r}, which is no whole number. Give digits, or leave it empty.")
    return value


def show(request: HttpRequest, pk: int) -> HttpResponse:
    """Everything about one teaching."""
    row, actor = _or_404(request, pk), actor_of(request)
    earlier = showing.before(actor, row)
    base_seen = bool(row.base and rights.can(actor, rights.Verb.READ, row.base))
    score, base_score = judged.score_of(row), judged.base_score_of(row) if base_seen else None
    comparison = showing.shown_comparison(actor, row)
    settings = Settings.from_dict(row.report.get("settings") or row.settings)
    made = Commit.objects.filter(repo=row.repo, sha=row.result_sha).first() if row.result_sha else None
    inspection = Inspection.objects.filter(repo=row.repo, sha=row.result_sha).first() if made else None
    job = row.job
    return render(
        request,
        "work/teaching.html",
        _curve(row)
        | {
            "row": row, "start": showing.shown_start(actor, row), "earlier": earlier, "settings": settings,
            "epochs": settings.passes(row.examples), "method": title_of(settings),
            "score": score, "base_score": base_score,
            "judging": judged.judging_of(row) if not score else None,
            "metric": title(score.metric) if score else "",
            "base_metric": title(base_score.metric) if base_score else "",
            "change": judged.change_since(earlier, row) if earlier else None,
            "job": shown_job(request, job), "progress_url": job.get_absolute_url(), "poll_seconds": 2,
            "base_seen": base_seen,
            "may_write": rights.can(actor, rights.Verb.WRITE, row.repo),
            "snippets": snippets(row.repo, made, inspection.facts if inspection else {}) if made else [],
            "ways": _ways(comparison), "nearest_name": comparison.get("nearest", ""),
            "held_back_share": held["right"] / held["n"] if (held := row.report.get("held_back")) else None,
            "comparing": shown_job(request, row.comparing) if row.comparing else None,
        },
    )  # fmt: skip


def curve(request: HttpRequest, pk: int) -> HttpResponse:
    """The live curve alone, for polling; when the job has ended, htmx loads the page anew: it has scores to show."""
    row = _or_404(request, pk)
    ended = row.job.has_ended
    answer = render(request, "work/teaching_curve.html", _curve(row), status=286 if ended else 200)
    if ended:
        answer["HX-Refresh"] = "true"
    return answer


def compared(request: HttpRequest, pk: int) -> HttpResponse:
    """Asked again and again while the comparison runs; when it has ended, htmx loads the page anew."""
    row = _or_404(request, pk)
    if row.comparing and not row.comparing.has_ended:
        return HttpResponse(status=204)
    return HttpResponse(status=286, headers={"HX-Refresh": "true"})


@require_POST
def compare(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for the honest comparison."""
    row = _or_404(request, pk)
    attempt(request, lambda: comparing.ask_for_comparison(actor=actor_of(request), row=row))
    return redirect(row.get_absolute_url() + "#comparison")


def _or_404(request: HttpRequest, pk: int) -> Teaching:
    rows = Teaching.objects.visible_to(actor_of(request))
    rows = rows.select_related("repo__owner", "task__owner", "base__owner", "owner", "job__owner", "comparing__owner")
    row = rows.filter(pk=pk).first()
    if row is None:
        raise Http404("There is no such teaching, or you may not see it.")
    return row


def _curve(row: Teaching) -> dict[str, Any]:
    return {"teaching": row, **drawn(row)}


def drawn(row: Teaching) -> dict[str, Any]:
    """The drawings of a teaching's curve and the table behind them."""
    settings = Settings.from_dict(row.settings)
    epochs = settings.passes(row.examples)
    return {
        "loss_drawing": loss_drawing(row.curve, epochs), "accuracy_drawing": accuracy_drawing(row.curve, epochs),
        "points": row.curve, "folded": any(point.get("fold") for point in row.curve),
        "validated": any(not p.get("fold") and p.get("validation_loss") is not None for p in row.curve),
    }  # fmt: skip


def _ways(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """The comparison's rows, with the time of a text in milliseconds."""
    ways = comparison.get("ways", [])
    return [way | {"milliseconds": way["seconds"] * 1000 if way["seconds"] is not None else None} for way in ways]


def _choices(actor: Actor, asked: Any) -> dict[str, Any]:
    """What the form offers."""
    return {
        "asked": asked,
        "quota": quota.quota_of(actor.account) if actor.account else None,
        "bases": asking.teachable_bases(actor),
        "tasks": listing(actor, Filters(kind=(Kind.TASK,)), "name")[:200],
        "methods": TITLES.items(),
        "numbers": [{"name": name, "label": label, "value": asked.get(name, "")} for name, label in NUMBERS],
        "test_share": asked.get("test_share", str(asking.TEST_SHARE)),
    }
