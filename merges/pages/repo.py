"""A repo's first page: card, facts, checks, evaluations, lineage, how to use it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from adapters.catalog.snippets import CLASSES, class_of, snippets, upload_snippets
from adapters.catalog.updating import made_by
from adapters.models import Embedding, Inspection
from hub.repos import trees
from hub.repos.frontmatter import parse_card
from hub.repos.models import Commit, Kind, Repo
from hub.review.models import Check
from merges.models import Evaluation, Teaching
from merges.pages import systems
from merges.pages.acting import folded
from merges.pages.shared import actor_of, commit_or_404, repo_or_404, repo_page, row, rows

OFFERED_TRIES, MOST_TRY, NEWEST = 3, 160, 6


def overview(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """Card, facts, checks, evaluations, lineage and how to use it."""
    repo = repo_or_404(request, owner, name, task=task)
    if repo.kind == Kind.SYSTEM:
        return systems.page(request, repo)
    if not repo.head:
        return repo_page(request, "repos/empty.html", repo, "card", snippets=upload_snippets(repo))
    commit = commit_or_404(repo, request.GET.get("revision"))
    inspection = Inspection.objects.filter(repo=repo, sha=commit.sha).select_related("job").first()
    answers = inspection is not None and _answers(repo, inspection.facts)
    return repo_page(
        request, "repos/overview.html", repo, "card",
        commit=commit,
        card=_card(repo, commit),
        revision_url=f"{repo.get_absolute_url()}@{commit.sha}",
        facts=_facts(repo, inspection),
        splits=_splits(inspection),
        inspected=inspection is not None,
        update=made_by(repo, commit),
        **folded(Check.objects.filter(repo=repo, sha=commit.sha)),
        evaluations=_evaluations(request, repo),
        made_from=_lineage(request, repo, commit),
        teaching=_teaching(request, repo) if repo.kind == Kind.ADAPTER else None,
        used_in=_used_in(request, repo),
        tries=_tries(request, repo, commit) if answers else [],
        answers=answers,
        specialists=_specialists(request, repo) if repo.kind == Kind.BASE else None,
        snippets=snippets(repo, commit, inspection.facts if inspection else {}),
    )  # fmt: skip


def _answers(repo: Repo, facts: dict[str, Any]) -> bool:
    """Is this something that can be asked: an adapter with labels or words, or a base that writes?"""
    if repo.kind == Kind.ADAPTER:
        return facts.get("task_type") in CLASSES
    return repo.kind == Kind.BASE and class_of(facts) in ("CAUSAL_LM", "SEQ_2_SEQ_LM")


def _tries(request: HttpRequest, repo: Repo, commit: Commit) -> list[str]:
    """A few inputs that this adapter knows, from the examples it is placed by."""
    seen = Embedding.objects.visible_to(actor_of(request))
    placed = seen.filter(repo=repo, sha=commit.sha, method="texts").first()
    texts = [text for text in (placed.texts if placed else []) if isinstance(text, str)]
    return [text for text in texts if 8 <= len(text) <= MOST_TRY and "\n" not in text][:OFFERED_TRIES]


def _specialists(request: HttpRequest, repo: Repo) -> dict[str, Any]:
    """The newest adapters and merges of a base, and how many there are that one may read."""
    of_base = Repo.objects.visible_to(actor_of(request)).filter(kind=Kind.ADAPTER, facts__base=repo.full_name)
    newest = of_base.select_related("owner").order_by("-updated_at")[:NEWEST]
    return {"count": of_base.count(), "rows": rows(newest, actor_of(request))}


def _card(repo: Repo, commit: Commit) -> str:
    try:
        return parse_card(trees.get_file(repo, commit, "README.md").read())[1]
    except (trees.EntryNotFound, ValueError):
        return ""


def _facts(repo: Repo, inspection: Inspection | None) -> list[dict[str, Any]]:
    """Measured facts first, then the card's claims; each says where it comes from."""
    facts = inspection.facts if inspection else {}
    job = inspection.job.get_absolute_url() if inspection and inspection.job else ""
    measured = [
        ("Method", facts.get("method")), ("Base", facts.get("base") or facts.get("base_model")),
        ("Rank", facts.get("rank")), ("Scaling", facts.get("scaling")),
        ("Parameters", _grouped(facts.get("trained_parameters"))),
        ("Share of the base", f"{facts['share_of_base']:.3%}" if facts.get("share_of_base") else None),
        ("Targets", ", ".join(facts.get("target_modules") or [])),
        ("Number types", ", ".join(facts.get("dtypes") or {})), ("Model type", facts.get("model_type")),
        ("Base parameters", _grouped(facts.get("base_parameters")) if not facts.get("peft_type") else None),
        ("Labels", ", ".join((facts.get("labels") or [])[:12])), ("Metric", facts.get("metric")),
    ]  # fmt: skip
    pages = {"Base": f"/{facts['base']}"} if facts.get("base") else {}
    rows = [
        {"label": label, "value": value, "source": "measured", "job_url": job, "url": pages.get(label)}
        for label, value in measured
        if value
    ]
    claims = [("Licence", repo.card.get("license")), ("Language", repo.card.get("language")),
              ("Trained for", repo.card.get("datasets"))]  # fmt: skip
    return rows + [
        {"label": label, "value": ", ".join(value) if isinstance(value, list) else value, "source": "claimed"}
        for label, value in claims
        if value
    ]


def _grouped(number: Any) -> str | None:
    return f"{number:,}" if number else None


def _splits(inspection: Inspection | None) -> list[dict[str, Any]]:
    splits = (inspection.facts.get("splits") or {}) if inspection else {}
    shown = []
    for name, split in splits.items():
        counts = split.get("labels") or {}
        most = max(counts.values(), default=1)
        shown.append({
            "name": name, "rows": split.get("rows"), "first_rows": split.get("first_rows") or [],
            "labels": [{"label": label, "count": count, "share": count / most} for label, count in counts.items()],
        })  # fmt: skip
    return shown


def _evaluations(request: HttpRequest, repo: Repo) -> Any:
    rows = Evaluation.objects.visible_to(actor_of(request)).select_related(
        "subject__owner", "task__owner", "base__owner", "job"
    )
    rows = rows.filter(task=repo).order_by("-score") if repo.is_task else rows.filter(subject=repo)
    return rows[:30]


def _lineage(request: HttpRequest, repo: Repo, commit: Commit) -> list[dict[str, Any]]:
    """What this commit was made from; parents one may not read are named only as private."""
    visible = set(Repo.objects.visible_to(actor_of(request)).filter(used_in__child=repo).values_list("pk", flat=True))
    lines = repo.made_from.filter(child_sha=commit.sha).select_related("parent__owner")
    return [
        {"relation": line.get_relation_display(), "weight": line.weight, "sha": line.parent_sha,
         "repo": row(line.parent) if line.parent_id in visible else None}
        for line in lines
    ]  # fmt: skip


def _teaching(request: HttpRequest, repo: Repo) -> Teaching | None:
    """The newest training here that gave this adapter its weights."""
    return Teaching.objects.visible_to(actor_of(request)).filter(repo=repo).exclude(result_sha="").first()


def _used_in(request: HttpRequest, repo: Repo) -> list[dict[str, Any]]:
    children = Repo.objects.visible_to(actor_of(request)).filter(made_from__parent=repo).select_related("owner")
    return [row(child) for child in children.distinct()[:20]]
