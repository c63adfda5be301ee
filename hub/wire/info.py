"""What a repo is at a revision, and lists of repos."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, F, Q
from django.http import HttpResponse, JsonResponse

from hub import rights
from hub.repos import cards, gitformat, standing, trees
from hub.repos.models import ZERO_SHA, Commit, GitObject, Repo
from hub.review.models import Check
from hub.rights import Verb
from hub.wire import listing, scores, shapes, storage
from hub.wire.asking import WireRequest, absolute, commit_at, door, flag, known_repo, values_of

EXPANDABLE = (
    *shapes.LIST_FIELDS, "siblings", "cardData", "config", "usedStorage", "description", "spaces", "safetensors",
    "baseModels", "childrenModelCount", "citation", "downloadsAllTime", "mainSize", "resourceGroup", "transformersInfo",
    "widgetData", "model-index", "evalResults", "inference", "inferenceProviderMapping", "paperswithcode_id", "gguf",
)  # fmt: skip
_BARE = {"language": "language", "library_name": "library", "pipeline_tag": "pipeline_tag"}
"""Fields of a card whose values are tags without a prefix, and the kind of tag they are."""


@door("GET", "HEAD")
def info(request: WireRequest, repokind: str, owner: str, name: str, revision: str = "") -> HttpResponse:
    """`GET /api/{T}/{R}[/revision/{rev}]`, with `blobs`, `expand` and `securityStatus`."""
    repo = known_repo(request, repokind, owner, name)
    if revision:
        standing.require_usable(repo, revision)
    commit = commit_at(repo, revision)
    expand = values_of(request, "expand")
    body = shapes.repo_info(repo, commit.sha, _card(repo, commit))
    may_read = rights.can(request.actor, Verb.READ, repo)
    if not expand or {"siblings", "mainSize"} & set(expand):
        files = trees.describe(repo, trees.flatten(repo, commit.tree))
        blobs = flag(request.GET.get("blobs")) and may_read
        body["siblings"] = [shapes.sibling(file, blobs=blobs) for file in files]
        body["mainSize"] = sum(file.size for file in files)
    if not expand or "usedStorage" in expand:
        body["usedStorage"] = storage.weigh([repo]).get(repo.pk, 0)
    measured = _safetensors(repo.facts) if commit.sha == repo.head else None
    if measured:
        body["safetensors"] = measured
    if expand:
        if "childrenModelCount" in expand:
            body["childrenModelCount"] = _children(request, [repo])[repo.pk]
        if "evalResults" in expand and not repo.is_task and may_read:
            body["evalResults"] = scores.results(request, repo, commit)
        body = _expanded(body, expand)
    if flag(request.GET.get("securityStatus")):
        body["securityRepoStatus"] = _security(repo, commit)
    return JsonResponse(body, headers={"X-Repo-Commit": commit.sha})


@door("GET", "HEAD")
def list_repos(request: WireRequest, repokind: str) -> HttpResponse:
    """`GET /api/models`, `GET /api/datasets`: what the actor may see, filtered, sorted, page by page."""
    page = listing.page(request, repokind)
    full, expand = flag(request.GET.get("full")), values_of(request, "expand")
    with_card = full or flag(request.GET.get("cardData")) or "cardData" in expand
    rows = [shapes.repo_info(repo, repo.head or ZERO_SHA, repo.card if with_card else {}) for repo in page.repos]
    if full or "siblings" in expand:
        names = file_names(page.repos)
        for row, repo in zip(rows, page.repos, strict=True):
            row["siblings"] = [{"rfilename": path} for path in names[repo.pk]]
    if expand:
        _add_expanded(request, page.repos, rows, set(expand))
        rows = [_expanded(row, expand) for row in rows]
    elif not full:
        wanted = [*shapes.LIST_FIELDS, *(["cardData"] if with_card else [])]
        rows = [{key: row[key] for key in wanted if key in row} for row in rows]
    response = JsonResponse(rows, safe=False)
    if page.following:
        response["Link"] = f'<{absolute(request, page.following)}>; rel="next"'
    return response


@door("GET")
def tags_by_type(request: WireRequest, repokind: str) -> HttpResponse:
    """`GET /api/{T}-tags-by-type`: the tags in use, sorted into kinds by their prefix."""
    repos = Repo.objects.visible_to(request.actor)
    repos = repos.tasks() if repokind == "datasets" else repos.models()
    found: dict[str, list[dict[str, str]]] = {}
    used: set[str] = set()
    kinds: dict[str, str] = {}
    for tags, card in repos.order_by().values_list("tags", "card")[:20_000]:
        used.update(tags)
        for key, kind in _BARE.items():
            named = card.get(key)
            kinds.update({str(tag): kind for tag in (named if isinstance(named, list) else [named]) if tag})
    for tag in sorted(used):
        kind, _, label = tag.partition(":")
        kind, label = (kind, label) if label else (kinds.get(tag, "other"), tag)
        found.setdefault(kind, []).append({"id": tag, "label": label, "type": kind})
    return JsonResponse(found)


def file_names(repos: Iterable[Repo]) -> dict[Any, list[str]]:
    """Repo key → paths at its head, for many repos at once: one query for each level of folders."""
    names: dict[Any, list[str]] = {repo.pk: [] for repo in repos}
    roots = Commit.objects.filter(repo__in=names, sha=F("repo__head")).values_list("repo_id", "tree")
    level = [(repo, tree, "") for repo, tree in roots if tree != trees.EMPTY_TREE]
    while level:
        shas = {tree for _repo, tree, _prefix in level}
        rows = GitObject.objects.filter(repo__in=names, sha__in=shas, kind="tree").values_list("repo_id", "sha", "data")
        bodies = {(repo, sha): data for repo, sha, data in rows}
        deeper = []
        for repo, tree, prefix in level:
            for entry in gitformat.parse_tree(bytes(bodies[repo, tree])).values():
                if entry.is_folder:
                    deeper.append((repo, entry.sha, f"{prefix}{entry.name}/"))
                else:
                    names[repo].append(prefix + entry.name)
        level = deeper
    return {repo: sorted(paths) for repo, paths in names.items()}


def _expanded(body: dict[str, Any], wanted: list[str]) -> dict[str, Any]:
    """Only the fields asked for; what a repo does not have is null."""
    return {key: body.get(key) for key in ("_id", "id", *(field for field in wanted if field in EXPANDABLE))}


def _add_expanded(request: WireRequest, repos: list[Repo], rows: list[dict[str, Any]], wanted: set[str]) -> None:
    """Fields that a list has only when asked: each for all rows at once."""
    used = storage.weigh(repos) if "usedStorage" in wanted else {}
    children = _children(request, repos) if "childrenModelCount" in wanted else {}
    for repo, row in zip(repos, rows, strict=True):
        row["safetensors"] = _safetensors(repo.facts)
        row["usedStorage"], row["childrenModelCount"] = used.get(repo.pk, 0), children.get(repo.pk)


def _card(repo: Repo, commit: Commit) -> Any:
    """The claims of the card at a revision; those of the head are at hand."""
    if commit.sha == repo.head or not commit.pk:
        return repo.card
    try:
        return cards.front_matter(trees.get_file(repo, commit, "README.md").read())
    except trees.EntryNotFound:
        return {}


def _safetensors(facts: dict[str, Any]) -> dict[str, Any] | None:
    """The measured number of parameters, by dtype. Repos last inspected long ago tell it where all are of one dtype."""
    parameters, dtypes = facts.get("parameters"), facts.get("dtypes")
    if isinstance(parameters, dict) and parameters:
        return {"parameters": parameters, "total": sum(parameters.values())}
    total = facts.get("trained_parameters", facts.get("base_parameters"))
    if not isinstance(total, int) or not isinstance(dtypes, dict) or len(dtypes) != 1:
        return None
    return {"parameters": {next(iter(dtypes)): total}, "total": total}


def _children(request: WireRequest, repos: list[Repo]) -> dict[Any, int]:
    """Repo key → how many models that the asker may see name it as their base: one query."""
    named = {f"n{number}": Q(tags__contains=[f"base_model:{repo.full_name}"]) for number, repo in enumerate(repos)}
    models = Repo.objects.visible_to(request.actor).models().order_by()
    counts = models.aggregate(**{name: Count("pk", filter=condition) for name, condition in named.items()})
    return {repo.pk: counts[f"n{number}"] for number, repo in enumerate(repos)}


def _security(repo: Repo, commit: Commit) -> dict[str, Any]:
    """Whether the automatic checks of this commit are in. Unsafe kinds of files never get this far."""
    done = Check.objects.filter(repo=repo, sha=commit.sha).exists()
    return {"scansDone": done, "filesWithIssues": []}
