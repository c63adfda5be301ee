"""What every route does first: who asks, may they go on, which repo is meant, what does the body say."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from hub.accounts import throttle
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.numerals import whole
from hub.repos import lifecycle, trees
from hub.repos.models import DEFAULT_BRANCH, ZERO_SHA, Commit, Repo
from hub.repos.trees import EMPTY_TREE
from hub.wire.converters import ESCAPED_SLASH
from hub.wire.errors import WireError, answer, bad_credentials, repo_not_found
from hub.wire.upstream import lead_on

HALF_A_PAIR = "The body has half of a surrogate pair, which is no text."


class WireRequest(HttpRequest):
    """A request after the middleware: it knows who asks."""

    actor: Actor
    id: str


View = Callable[..., HttpResponseBase]


def door(*methods: str, limit: str = "api") -> Callable[[View], View]:
    """Make a view a route of the wire: checked token, counted, and every refusal in the client's own terms."""

    def wrap(view: View) -> View:
        @functools.wraps(view)
        def inner(request: WireRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            allowance = None
            try:
                if request.method not in methods:
                    allowed = ", ".join(methods)
                    raise WireError(405, f"Only {allowed} is possible here.", headers={"Allow": allowed})
                _refuse_zero_bytes(request, kwargs)
                if request.actor.bad_credentials:
                    raise bad_credentials()
                allowance = throttle.take(request, request.actor, limit)
                if allowance and allowance.exceeded:
                    raise WireError(429, f"Too many requests; go on in {allowance.reset} seconds.")
                response = view(request, *args, **kwargs)
            except Exception as error:
                refusal = answer(request, error)
                if refusal is None:
                    raise
                response = refusal
            if allowance and isinstance(response, HttpResponse):
                throttle.describe(response, allowance)
            return response

        return inner

    return wrap


def _refuse_zero_bytes(request: HttpRequest, parts: dict[str, Any]) -> None:
    """No name, path or search here has one, and the database could not be asked for it. Raises WireError."""
    if any("\x00" in str(part) for part in parts.values()):
        raise WireError(404, "There is nothing here: an address has no zero bytes.")
    if any("\x00" in text for key, values in request.GET.lists() for text in (key, *values)):
        raise WireError(400, "A question is written without zero bytes.")


def by_method(**views: View) -> View:
    """One address, one view for each method."""

    def dispatch(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        view = views.get(request.method or "")
        if view is None:
            allowed = ", ".join(sorted(views))
            return HttpResponse(status=405, headers={"Allow": allowed})
        return view(request, *args, **kwargs)

    return dispatch


def find_repo(request: WireRequest, repokind: str, owner: str, name: str, *, upstream: bool = False) -> Repo:
    """The repo of that address if the actor may read it, without regard to case.

    Raises WireError: 307 for a repo that moved (with `upstream`, for one that another hub may have), else RepoNotFound.
    """
    repos = Repo.objects.with_id(f"{owner}/{name}").visible_to(request.actor).select_related("owner")
    repo = (repos.tasks() if repokind == "datasets" else repos.models()).first()
    if repo is None:
        moved = lifecycle.moved_to(request.actor, f"{owner}/{name}", task=repokind == "datasets")
        if moved:
            raise _go_on(request, f"{owner}/{name}", moved)
        _tell_of_gate(request, repokind, owner, name)
        raise (lead_on(request, repokind, owner) if upstream else None) or repo_not_found(request)
    return repo


def known_repo(request: WireRequest, repokind: str, owner: str, name: str) -> Repo:
    """As `find_repo` with `upstream`, and gated repos too: for routes that tell of a repo but not what is in it."""
    repos = Repo.objects.with_id(f"{owner}/{name}").known_to(request.actor).select_related("owner")
    repo = (repos.tasks() if repokind == "datasets" else repos.models()).first()
    return repo or find_repo(request, repokind, owner, name, upstream=True)


def _tell_of_gate(request: WireRequest, repokind: str, owner: str, name: str) -> None:
    """A gated repo is no secret: say where to ask. Raises WireError (GatedRepo); returns if it is none."""
    repos = Repo.objects.with_id(f"{owner}/{name}").known_to(request.actor).select_related("owner")
    repo = (repos.tasks() if repokind == "datasets" else repos.models()).first()
    if repo is not None:
        page = absolute(request, f"{repo.get_absolute_url()}/access")
        message = f"Access to {repo.full_name} is restricted. Ask for it at {page}"
        raise WireError(403 if request.actor.is_known else 401, message, code="GatedRepo")


def _go_on(request: WireRequest, before: str, repo: Repo) -> WireError:
    """307 to the same address below the repo's new id: method and body go along."""
    address = request.get_full_path().replace(ESCAPED_SLASH, "%2F")
    there = re.sub(re.escape(f"/{before}"), lambda _match: f"/{repo.full_name}", address, count=1, flags=re.IGNORECASE)
    return WireError(307, f"This repo is {repo.full_name} now.", headers={"Location": there})


def commit_at(repo: Repo, revision: str) -> Commit:
    """The commit of a revision. The main branch of an empty repo is an empty tree, not an error, as clients expect.

    Raises RevisionNotFound.
    """
    if not repo.head and revision in ("", DEFAULT_BRANCH, f"refs/heads/{DEFAULT_BRANCH}", ZERO_SHA):
        return Commit(repo=repo, sha=ZERO_SHA, tree=EMPTY_TREE, created_at=repo.created_at)
    if repo.head and revision in ("", DEFAULT_BRANCH):  # the repo was read for this request: no need to ask its ref
        head = Commit.objects.filter(repo=repo, sha=repo.head).first()
        if head:
            return head
    return trees.resolve_commit(repo, revision or None)


def require_account(request: WireRequest) -> Account:
    """Who asks. Raises WireError (401) for nobody."""
    if request.actor.account is None:
        raise bad_credentials()
    return request.actor.account


def read_json(request: HttpRequest) -> dict[str, Any]:
    """The JSON object in the body; an empty body is an empty object. Raises WireError (400), RequestDataTooBig."""
    if not request.body:
        return {}
    try:
        data = json.loads(request.body)
        if b"\\u" in request.body:
            json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise WireError(400, HALF_A_PAIR) from error
    except (ValueError, RecursionError) as error:
        raise WireError(400, "The body is not valid JSON.") from error
    if not isinstance(data, dict):
        raise WireError(400, "The body must be a JSON object.")
    return data


def text_of(data: dict[str, Any], key: str, default: str = "") -> str:
    """A text field of a body. Raises WireError (400) if it is something else."""
    value = data.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise WireError(400, f"'{key}' must be a text.")
    return value.replace("\x00", "")


def flag(value: object) -> bool:
    """Booleans as clients of all ages write them."""
    return str(value).lower() in ("true", "1", "yes")


def number_of(request: HttpRequest, key: str, default: int) -> int:
    """A whole number of a query; `default` for anything else."""
    number = whole(request.GET.get(key))
    return default if number is None else number


def values_of(request: HttpRequest, key: str) -> list[str]:
    """A repeated query key, also as `key[]`."""
    return [value for value in request.GET.getlist(key) + request.GET.getlist(f"{key}[]") if "\x00" not in value]


def absolute(request: HttpRequest, path: str) -> str:
    """An absolute address on the host the client used, below the prefix it used."""
    prefix = request.META.get("SCRIPT_NAME", "").rstrip("/")
    return request.build_absolute_uri(prefix + path)


def repo_url(request: HttpRequest, repo: Repo) -> str:
    """`<endpoint>/[datasets/]owner/name`, which the client parses."""
    return absolute(request, repo.get_absolute_url())
