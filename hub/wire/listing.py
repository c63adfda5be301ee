"""Choosing repos for a list: search, filters, order, and a cursor that survives new repos."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from django.db.models import CharField, Q, Value
from django.db.models.functions import Concat

from hub.repos.models import Repo, RepoQuerySet
from hub.wire.asking import WireRequest, flag, values_of
from hub.wire.errors import WireError

SORTS = {
    "lastModified": "updated_at", "last_modified": "updated_at", "updatedAt": "updated_at",
    "createdAt": "created_at", "created_at": "created_at",
    "downloads": "downloads", "likes": "likes", "likes7d": "likes", "trendingScore": "likes", "trending_score": "likes",
}  # fmt: skip
PAGE, LARGEST = 100, 1000
MAX_FILTERS = 30
_TAG_PREFIXES = {
    "language": "", "license": "license:", "task_categories": "task_categories:", "size_categories": "size_categories:",
    "task_ids": "task_ids:", "library": "", "trained_dataset": "dataset:",
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """Some repos, and the address of the rest (empty on the last page)."""

    repos: list[Repo]
    following: str


def page(request: WireRequest, repokind: str) -> Page:
    """The repos a request asks for. Raises WireError (400) for what cannot be meant."""
    repos = Repo.objects.visible_to(request.actor).select_related("owner")
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
    search, author = request.GET.get("search", ""), request.GET.get("author", "")
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
    if request.GET.get("gated") is not None and flag(request.GET["gated"]):
        return repos.none()
    return repos


def _tag(tag: str) -> Q:
    """A tag as repos carry it; a bare kind of repo (`adapter`, `base`) works as one too."""
    carried = Q(tags__contains=[tag[:200]])
    return carried | Q(kind=tag) if tag in ("adapter", "base") else carried


def _limit(request: WireRequest) -> int:
    text = request.GET.get("limit", "")
    if not text:
        return PAGE
    if not text.isdigit() or int(text[:9]) == 0:
        raise WireError(400, "'limit' is a number above zero.")
    return min(int(text[:9]), LARGEST)


def _after(repos: RepoQuerySet, field: str, cursor: str) -> RepoQuerySet:
    value, key = _decode(cursor)
    try:
        return repos.filter(Q(**{f"{field}__lt": value}) | Q(**{field: value, "pk__lt": key}))
    except (ValidationError, ValueError, TypeError) as error:
        raise WireError(400, "This cursor belongs to another list.") from error


def _encode(parts: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def _decode(cursor: str) -> tuple[Any, str]:
    try:
        value, key = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, TypeError) as error:
        raise WireError(400, "This cursor cannot be read.") from error
    return value, str(key)
