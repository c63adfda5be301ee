"""Merges, evaluations and all other work in the shape of the client's jobs: `hf jobs ps|logs|inspect|cancel`."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from hub.jobs import queue
from hub.jobs.models import Job, Queue, State
from hub.numerals import whole
from hub.wire.asking import WireRequest, absolute, door, number_of, require_account, values_of
from hub.wire.errors import WireError
from hub.wire.shapes import name_of, when

PAGE, LISTEN_SECONDS, STEP_SECONDS = 100, 12.0, 1.0
STAGES = {
    State.QUEUED: "SCHEDULING", State.RUNNING: "RUNNING", State.SUCCEEDED: "COMPLETED", State.FAILED: "ERROR",
    State.CANCELLED: "CANCELED",
}  # fmt: skip
_LABELS = {"kind": "kind", "name": "title", "queue": "queue"}
"""Labels that a list can be narrowed by, and the column each stands for; `repo` is the fourth."""


@door("GET")
def list_jobs(request: WireRequest, namespace: str) -> HttpResponse:
    """`GET /api/jobs/{ns}?stage=&label=k=v`: jobs of a person, or about the repos of an organisation."""
    require_account(request)
    jobs = _of(request, namespace)
    stages = {text.upper() for text in values_of(request, "stage")}
    if stages:
        jobs = jobs.filter(state__in=[state for state, stage in STAGES.items() if stage in stages])
    for label in values_of(request, "label"):
        jobs = _labelled(jobs, label)
    start = number_of(request, "p", 0) * PAGE
    rows = list(jobs[start : start + PAGE + 1])
    response = JsonResponse([_shape(job, namespace) for job in rows[:PAGE]], safe=False)
    if len(rows) > PAGE:
        query = [(key, item) for key in request.GET if key != "p" for item in request.GET.getlist(key)]
        address = f"/api/jobs/{namespace}?{urlencode([*query, ('p', start // PAGE + 1)])}"
        response["Link"] = f'<{absolute(request, address)}>; rel="next"'
    return response


@door("GET")
def hardware(request: WireRequest) -> HttpResponse:
    """`GET /api/jobs/hardware`: the queues. Nothing here costs money."""
    pretty = {Queue.FAST: "Short work", Queue.HEAVY: "Long work on CPUs", Queue.GPU: "Work on a GPU"}
    rows = [
        {
            "name": str(name), "prettyName": text, "cpu": "shared", "ram": "shared", "accelerator": None,
            "unitCostMicroUSD": 0, "unitCostUSD": 0.0, "unitLabel": "minute",
        }
        for name, text in pretty.items()
    ]  # fmt: skip
    return JsonResponse(rows, safe=False)


@door("GET")
def inspect(request: WireRequest, namespace: str, job: uuid.UUID) -> HttpResponse:
    """`GET /api/jobs/{ns}/{id}`."""
    return JsonResponse(_shape(_find(request, namespace, job), namespace))


@door("POST", limit="write")
def cancel(request: WireRequest, namespace: str, job: uuid.UUID) -> HttpResponse:
    """`POST /api/jobs/{ns}/{id}/cancel`: at once if it waits, at its next step if it runs."""
    require_account(request)
    row = queue.cancel(actor=request.actor, job=_find(request, namespace, job))
    return JsonResponse(_shape(row, namespace))


@door("GET")
def logs(request: WireRequest, namespace: str, job: uuid.UUID) -> HttpResponseBase:
    """`GET /api/jobs/{ns}/{id}/logs`: what happened so far, then what happens in the next seconds; clients ask again.

    Lines come in the same order and number each time, since clients skip as many as they have seen.
    """
    row = _find(request, namespace, job)
    lines = _listen(row, whole(request.GET.get("tail")))
    return StreamingHttpResponse(lines, content_type="text/event-stream", headers={"Cache-Control": "no-cache"})


@door("POST", "PUT", "PATCH", "GET")
def not_here(request: WireRequest, namespace: str, job: uuid.UUID | None = None, rest: str = "") -> HttpResponse:
    """Running programs of one's own, labels, ports, metrics."""
    raise WireError(
        501,
        "Jobs are begun by asking for a merge or an evaluation; this hub runs no other programs and sets no labels.",
    )


@door("GET", "POST", "PUT", "PATCH", "DELETE")
def no_such_job(request: WireRequest, namespace: str, name: str, rest: str = "") -> HttpResponse:
    """Jobs are named by UUIDs: whatever is not one names none."""
    raise _missing()


def _of(request: WireRequest, namespace: str) -> QuerySet[Job]:
    whose = Q(owner__name__iexact=namespace) | Q(repo__owner__name__iexact=namespace)
    return Job.objects.visible_to(request.actor).filter(whose).select_related("owner", "repo__owner")


def _find(request: WireRequest, namespace: str, job: uuid.UUID) -> Job:
    row = _of(request, namespace).filter(pk=job).first()
    if row is None:
        raise _missing()
    return row


def _missing() -> WireError:
    return WireError(404, "There is no such job, or you may not see it.")


def _labelled(jobs: QuerySet[Job], label: str) -> QuerySet[Job]:
    key, _, value = label.partition("=")
    if key == "repo":
        owner, _, name = value.partition("/")
        return jobs.filter(repo__owner__name__iexact=owner, repo__name__iexact=name)
    return jobs.filter(**{_LABELS[key]: value}) if key in _LABELS else jobs.none()


def _shape(job: Job, namespace: str) -> dict[str, Any]:
    began, ended = job.started_at, job.ended_at
    labels = {"name": job.title, "kind": job.kind, "queue": job.queue}
    return {
        "id": str(job.pk),
        "createdAt": when(job.created_at),
        "startedAt": when(began) if began else None,
        "finishedAt": when(ended) if ended else None,
        "dockerImage": job.kind,
        "command": [job.title],
        "arguments": [],
        "environment": {},
        "flavor": job.queue,
        "labels": labels | ({"repo": job.repo.full_name} if job.repo else {}),
        "owner": {"id": str(job.owner_id or ""), "name": namespace, "type": "user"},
        "initiator": {"type": "user", "id": str(job.owner_id or ""), "name": name_of(job.owner)},
        "status": {"stage": STAGES[State(job.state)], "message": _message(job)},
        "durations": {
            "schedulingSecs": int(((began or ended or timezone.now()) - job.created_at).total_seconds()),
            "runningSecs": int(((ended or timezone.now()) - began).total_seconds()) if began else 0,
        },
    }


def _message(job: Job) -> str | None:
    if job.state == State.RUNNING and job.total:
        return f"{job.share:.0%} {job.note}".strip()
    return job.error or job.note or None


def _listen(job: Job, tail: int | None) -> Iterator[bytes]:
    """Server-sent events. Ends with the job, or after a while."""
    told, deadline = 0, time.monotonic() + LISTEN_SECONDS
    while True:
        lines = _lines(job)
        if tail is not None and not told:
            told = max(0, len(lines) - tail)
        for at, text in lines[told:]:
            yield f"data: {json.dumps({'data': text, 'timestamp': when(at)})}\n\n".encode()
        told = max(told, len(lines))
        if job.has_ended or time.monotonic() > deadline:
            return
        time.sleep(STEP_SECONDS)
        job.refresh_from_db()
        yield b": still here\n\n"


def _lines(job: Job) -> list[tuple[datetime, str]]:
    """What is known of a job's course, oldest first. Every tenth that is done is a line."""
    lines = [(job.created_at, f"{job.title}: waiting in the queue '{job.queue}'")]
    if job.started_at is None and not job.has_ended:
        return lines
    began = job.started_at or job.created_at
    if job.started_at:
        lines.append((began, "began"))
        lines += [(began, f"{10 * tenth} % done") for tenth in range(1, int(job.share * 10 + 1e-9) + 1)]
    if job.ended_at:
        lines.append(
            (
                job.ended_at,
                f"{job.get_state_display().lower()}{f': {job.error or job.note}' if job.error or job.note else ''}",
            )
        )
        lines += [
            (job.ended_at, f"{key}: {value}")
            for key, value in job.result.items()
            if isinstance(value, str | int | float)
        ]
    return lines
