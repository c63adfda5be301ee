"""Profiles, new repos, uploads and tokens."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from adapters.search.filters import Filters
from adapters.search.listing import listing
from hub.accounts.models import Account, Scope
from hub.accounts.tokens import create_token, revoke_token
from hub.numerals import key_of, whole
from hub.repos import lifecycle
from hub.repos.changes import Change, Inline, Put
from hub.repos.commits import commit
from hub.repos.models import Kind
from hub.rights import Verb, can_act_for, owners_for, require
from merges.pages.shared import actor_of, attempt, page_of, repo_or_404, repo_page, rows, signed_in

KINDS = (
    (Kind.ADAPTER, "Adapter", "A specialist: a small update of a base, as peft saves it."),
    (Kind.TASK, "Task", "Labelled examples to learn from and to be judged on."),
    (Kind.BASE, "Base", "A whole model that adapters change."),
    (Kind.SYSTEM, "System", "A base, accepted specialists and a router over them."),
)
"""What a repo can be, the commonest first, as the form explains it."""

BELONGS = {
    Kind.ADAPTER: "An adapter is adapter_config.json and adapter_model.safetensors; its README.md makes it found.",
    Kind.TASK: "A task is train and test splits as jsonl, csv or parquet; its README.md names labels and metric.",
    Kind.BASE: "A base is config.json, safetensors and its tokenizer; its README.md says where it comes from.",
    Kind.SYSTEM: "Specialists enter a System by proposals; here go its README.md and other texts.",
}
"""The files of each kind, as the upload page names them."""


def profile(request: HttpRequest, owner: str) -> HttpResponse:
    """A person or organisation and the repos one may see."""
    account = Account.objects.filter(name__iexact=owner, is_active=True).first()
    if account is None:
        raise Http404("There is nobody of that name.")
    actor = actor_of(request)
    page = page_of(request, listing(actor, Filters(owner=(account.name,)), known=True))
    context = {
        "account": account, "page_obj": page, "rows": rows(page.object_list, actor),
        "members": account.memberships_of.select_related("member") if account.is_organisation else [],
        "organisations": account.memberships.select_related("organisation"),
        "manages": can_act_for(actor, account, admin=True),
    }  # fmt: skip
    return render(request, "people/profile.html", context)


@signed_in
def new(request: HttpRequest) -> HttpResponse:
    """Create a repo."""
    actor, asked, error = actor_of(request), request.POST, ""
    assert actor.account is not None
    owners = owners_for(actor)
    if request.method == "POST":
        owner = next((item for item in owners if item.name == asked.get("owner")), actor.account)
        kind = asked.get("kind") if asked.get("kind") in Kind.values else Kind.ADAPTER
        repo, error = attempt(
            request,
            lambda: lifecycle.create_repo(
                actor=actor, owner=owner, name=asked.get("name", "").strip(), kind=str(kind),
                private=asked.get("private") == "on",
            ),
            announced=False,
        )  # fmt: skip
        if repo:
            return redirect(f"{repo.get_absolute_url()}/upload")
    context = {"owners": owners, "kinds": KINDS, "asked": asked, "error": error}
    return render(request, "people/new.html", context, status=422 if error else 200)


@signed_in
def upload(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """Drop files (in parts, through the API), or send a plain form."""
    repo = repo_or_404(request, owner, name, task=task)
    actor = actor_of(request)
    _, error = attempt(request, lambda: require(actor, Verb.WRITE, repo))
    if error:
        return redirect(repo.get_absolute_url())
    if request.method == "POST":
        puts: list[Change] = [
            Put(file.name, Inline(file.read())) for file in request.FILES.getlist("files") if file.name
        ]
        made, error = attempt(
            request,
            lambda: commit(
                actor=actor, repo=repo, changes_=puts, message=request.POST.get("message") or "Upload files",
                parent=request.POST.get("parent") or None,
            ),
        )  # fmt: skip
        if made:
            return redirect(repo.get_absolute_url())
    space = "tasks" if repo.is_task else "repos"
    response = repo_page(
        request, "repos/upload.html", repo, "files", base_url=f"/api/v1/{space}/{repo.full_name}", parent=repo.head,
        done_url=repo.get_absolute_url(), action=request.path, hint=BELONGS[Kind(repo.kind)],
    )  # fmt: skip
    response.status_code = 422 if error else 200
    return response


@signed_in
def profile_settings(request: HttpRequest) -> HttpResponse:
    """How others see this person."""
    account = actor_of(request).account
    assert account is not None
    if request.method == "POST":
        account.display_name = request.POST.get("display_name", "")[:120]
        account.bio = request.POST.get("bio", "")[:2000]
        account.save(update_fields=["display_name", "bio"])
        messages.success(request, "Saved.")
        return redirect(request.path)
    return render(request, "people/settings.html", {"account": account})


@signed_in
def tokens(request: HttpRequest) -> HttpResponse:
    """Make and revoke access tokens. The text of a new one is shown once."""
    actor, asked, text = actor_of(request), request.POST, ""
    assert actor.account is not None
    if request.method == "POST" and actor.token is None:
        if "revoke" in asked:
            for row in actor.account.tokens.filter(pk=key_of(asked["revoke"])):
                revoke_token(row)
            return redirect(request.path)
        days = whole(asked.get("days"), 3650) or 0
        _row, text = create_token(
            account=actor.account, label=asked.get("label", "").strip()[:80] or "Unnamed",
            scope=Scope.WRITE if asked.get("scope") == "write" else Scope.READ,
            repos=asked.get("repos", "").replace(",", " ").split(),
            expires_at=timezone.now() + timedelta(days=days) if days else None,
        )  # fmt: skip
    found = actor.account.tokens.filter(revoked_at=None)
    return render(request, "people/tokens.html", {"tokens": found, "text": text})
