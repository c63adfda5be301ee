"""Choosing repos for a list: search, filters, order, and a cursor that survives new repos."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from django.db.models import CharField, Q, Value
from django.db.models.functions import Concat

from hub.numerals import whole
from hub.repos.models import Repo, RepoQuerySet
from hub.wire.asking import WireRequest, flag, values_of
from hub.wire.errors import WireError

SORTS = {
    "lastModified": "updated_at", "last_modified": "updated_at", "updatedAt": "updated_at",
    "createdAt": "created_at", "created_at": "created_at",
    "downloads": "downloads", "likes": "likes", "likes7d": "likes", "trendingScore": "likes", "trending_score": "likes",
}  # fmt: skip
_BOUND = re.compile(r"(min|max):(\d{1,6}(?:\.\d{1,3})?)([KMBT]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
PAGE, LARGEST = 100, 1000
MAX_FILTERS = 30
_TAG_PREFIXES = {
    "language": "", "license": "license:", "task_categories": "task_categories:", "size_categories": "size_categories:",
    "task_ids": "task_ids:", "library": "", "trained_dataset": "dataset:", "benchmark": "benchmark:",
    "multilinguality": "multilinguality:", "annotations_creators": "annotations_creators:",
    "language_creators": "language_creators:", "dataset_name": "", "tags": "", "model_name": "",
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """Some repos, and the address of the rest (empty on the last page)."""

    repos: list[Repo]
    following: str


def page(request: WireRequest, repokind: str) -> Page:
    """The repos a request asks for. Raises WireError (400) for what cannot be meant."""
    repos = Repo.objects.known_to(request.actor).select_related("owner")
    repos = repos.tasks() if repokind == "datasets" else repos.models()
    repos = _filtered(request, repos)
    sort = request.GET.get("sort") or "lastModified"
    if sort not in SORTS:
        raise WireError(400, f"'{sort[:40]}' is no order; use one of {', '.join(sorted(SORTS))}.")
    field, size = SORTS[sort], _limit(request)
    if request.GET.get("cursor"):
        repos = _after(repos, field, request.GET["cursor"])
    found = list(repos.order_by(f"-{field}", "-pk")[: size + 1])
    if len(found) <= size:
        return Page(found, "")
    last = found[size - 1]
    value = getattr(last, field)
    cursor = _encode([value.isoformat() if isinstance(value, datetime) else value, str(last.pk)])
    query = [(key, item) for key in request.GET if key != "cursor" for item in request.GET.getlist(key)]
    return Page(found[:size], f"/api/{repokind}?{urlencode([*query, ('cursor', cursor)])}")


def _filtered(request: WireRequest, repos: RepoQuerySet) -> RepoQuerySet:
    search, author = " ".join(request.GET.getlist("search")), request.GET.get("author", "")
    if "\x00" in search + author:
        raise WireError(400, "A search is written without zero bytes.")
    for word in search.split()[:10]:
        repos = repos.annotate(full=Concat("owner__name", Value("/"), "name", output_field=CharField()))
        repos = repos.filter(full__icontains=word)
    if author:
        repos = repos.filter(owner__name__iexact=author)
    tags = [tag for tag in values_of(request, "filter") if tag]
    for key, prefix in _TAG_PREFIXES.items():
        tags += [tag if tag.startswith(prefix) else prefix + tag for tag in values_of(request, key) if tag]
    if len(tags) > MAX_FILTERS:
        raise WireError(400, f"Use {MAX_FILTERS} filters at most.")
    for tag in tags:
        repos = repos.filter(_tag(tag))
    pipeline = request.GET.get("pipeline_tag")
    if pipeline:
        repos = repos.filter(Q(card__pipeline_tag=pipeline) | Q(tags__contains=[pipeline]))
    for app in values_of(request, "apps"):
        repos = repos.filter(tags__contains=[app[:200]])
    for least, most in map(parameters, values_of(request, "num_parameters")):
        repos = _sized(repos, least, most)
    if any(request.GET.get(key) for key in ("inference", "inference_provider")):
        return repos.none()  # no model runs here on demand
    if request.GET.get("gated"):
        repos = repos.exclude(gated="") if flag(request.GET["gated"]) else repos.filter(gated="")
    return repos


def parameters(text: str) -> tuple[int | None, int | None]:
    """(least, most) of `min:6B,max:128B`. Raises WireError (400)."""
    bounds: dict[str, int] = {}
    for part in text.split(","):
        match = _BOUND.fullmatch(part.strip())
        if not match:
            raise WireError(400, "Numbers of parameters are asked for like 'min:500M,max:7B'.")
        bounds[match[1]] = int(float(match[2]) * _UNITS[match[3].upper()])
    return bounds.get("min"), bounds.get("max")


def _sized(repos: RepoQuerySet, least: int | None, most: int | None) -> RepoQuerySet:
    """Repos with a measured number of parameters in these bounds."""
    inside: list[Q] = []
    for fact in ("trained_parameters", "base_parameters"):
        bounds: dict[str, int | bool] = {f"facts__{fact}__isnull": False}
        bounds |= {f"facts__{fact}__gte": least} if least is not None else {}
        bounds |= {f"facts__{fact}__lte": most} if most is not None else {}
        inside.append(Q(**bounds))
    return repos.filter(inside[0] | Q(facts__trained_parameters__isnull=True) & inside[1])


def _tag(tag: str) -> Q:
    """A tag as repos carry it, with or without `language:`; a bare kind of repo (`adapter`, `base`) is one too."""
    carried = Q(tags__contains=[tag[:200]])
    if tag.startswith("language:"):
        carried |= Q(tags__contains=[tag.removeprefix("language:")[:200]])
    return carried | Q(kind=tag) if tag in ("adapter", "base") else carried


def _limit(request: WireRequest) -> int:
    text = request.GET.get("limit", "")
    if not text:
        return PAGE
    size = whole(text)
    if not size:
        raise WireError(400, "'limit' is a number above zero.")
    return min(size, LARGEST)


def _after(repos: RepoQuerySet, field: str, cursor: str) -> RepoQuerySet:
    value, key = _decode(cursor)
    try:
        return repos.filter(Q(**{f"{field}__lt": value}) | Q(**{field: value, "pk__lt": key}))
    except (ValidationError, ValueError, TypeError, OverflowError) as error:
        raise WireError(400, "This cursor belongs to another list.") from error


def _encode(parts: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def _decode(cursor: str) -> tuple[Any, str]:
    try:
        value, key = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, TypeError) as error:
        raise WireError(400, "This cursor cannot be read.") from error
    return value, str(key)
