"""Scores under the client's names: a task's leaderboard, and what is known of a model's results.

What was measured is kept by a higher room (see `measured`); what a repo claims stands in its `.eval_results/`.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from hub.repos import frontmatter, trees
from hub.repos.models import Commit, Repo
from hub.wire.asking import WireRequest, absolute, door, find_repo, flag
from hub.wire.errors import WireError
from hub.wire.measured import Score, boards, results_of
from hub.wire.shapes import when

CLAIMS, MOST_CLAIM_FILES, MOST_CLAIM_BYTES = ".eval_results/", 50, 64 * 1024
_TOLD = ("value", "date", "notes", "verifyToken")


@door("GET")
def leaderboard(request: WireRequest, repokind: str, owner: str, name: str) -> HttpResponse:
    """`GET /api/datasets/{R}/leaderboard[?base_model=true]`: specialists too, unless only bases are asked for."""
    repo = find_repo(request, repokind, owner, name)
    if not repo.is_task:
        raise WireError(404, "Only a task, which the client calls a dataset, has a leaderboard.")
    bases_only = flag(request.GET.get("base_model"))
    return JsonResponse([_placed(request, score) for score in boards(request.actor, repo, bases_only)], safe=False)


def results(request: WireRequest, repo: Repo, commit: Commit) -> list[dict[str, Any]]:
    """`evalResults` of a model: what was measured here that the asker may see, then what its files claim."""
    return [_measured(request, score) for score in results_of(request.actor, repo)] + claims(repo, commit)


def claims(repo: Repo, commit: Commit) -> list[dict[str, Any]]:
    """Every result of `.eval_results/*.yaml`, or what is wrong with a file."""
    here = trees.flatten(repo, commit.tree)
    wanted = {path: sha for path, sha in here.items() if path.startswith(CLAIMS) and path.endswith((".yaml", ".yml"))}
    chosen = sorted(wanted)[:MOST_CLAIM_FILES]
    files = trees.load_files(repo, {path: wanted[path] for path in chosen})
    found: list[dict[str, Any]] = []
    for path in chosen:
        file = files[path]
        rows = _parsed(file.read()) if file.size <= MOST_CLAIM_BYTES else None
        if rows is None:
            found.append({"filename": path, "error": "This file is no list of results in YAML, or it is too large."})
        for row in rows or []:
            found.append({"filename": path} | row)
    return found


def _parsed(data: bytes) -> list[dict[str, Any]] | None:
    """A row for each result of a file; None for what is no list."""
    try:
        rows = frontmatter.parse_yaml(data.decode())
    except (frontmatter.CardError, UnicodeDecodeError):
        return None
    return [_claim(row) for row in rows] if isinstance(rows, list) else None


def _claim(row: Any) -> dict[str, Any]:
    dataset = row.get("dataset") if isinstance(row, dict) else None
    if not isinstance(dataset, dict) or not all(isinstance(dataset.get(key), str) for key in ("id", "task_id")):
        return {"error": "A result names its 'dataset' by 'id' and 'task_id'."}
    if not isinstance(row.get("value"), int | float):
        return {"error": "A result has a number as its 'value'."}
    source = row.get("source")
    told = {key: row[key] for key in _TOLD if key in row} | ({"source": source} if isinstance(source, dict) else {})
    return {"verified": False, "data": {"dataset": dataset} | told}


def _measured(request: HttpRequest, score: Score) -> dict[str, Any]:
    data = {
        "dataset": {"id": score.task.full_name, "task_id": score.metric, "revision": score.task_sha},
        "value": score.value,
        "date": when(score.at),
        "source": _source(request, score),
        "notes": score.notes,
    }
    return {"filename": "", "verified": score.verified, "data": data}


def _placed(request: HttpRequest, score: Score) -> dict[str, Any]:
    owner = score.subject.owner
    return {
        "rank": score.rank,
        "modelId": score.subject.full_name,
        "value": score.value,
        "filename": "",
        "verified": score.verified,
        "source": _source(request, score) | {"isExternal": False},
        "author": {
            "name": owner.name,
            "fullname": owner.title,
            "type": "org" if owner.is_organisation else "user",
            "avatarUrl": "",
        },
        "notes": score.notes,
    }


def _source(request: HttpRequest, score: Score) -> dict[str, Any]:
    return {"url": absolute(request, score.path), "name": "Tessera"}
