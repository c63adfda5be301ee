"""Who am I, who are they, and small routes that belong to no repo."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q
from django.http import HttpResponse, JsonResponse

from hub.accounts.models import Account, MemberRole, Membership
from hub.repos.frontmatter import CardError, parse_card
from hub.repos.models import Like, Repo
from hub.review.models import ChangeRequest
from hub.wire.asking import WireRequest, door, read_json, require_account, text_of
from hub.wire.errors import WireError
from hub.wire.shapes import when


@door("GET")
def whoami(request: WireRequest) -> HttpResponse:
    """`GET /api/whoami-v2`: the account and the token in hand. All that `hf auth login --token` asks."""
    account, token = require_account(request), request.actor.token
    memberships = Membership.objects.filter(member=account).select_related("organisation")
    return JsonResponse(
        {
            "type": "user",
            "id": str(account.pk),
            "name": account.name,
            "fullname": account.title,
            "email": account.email or None,
            "emailVerified": False,
            "isPro": False,
            "avatarUrl": "",
            "orgs": [
                {
                    "type": "org",
                    "id": str(row.organisation_id),
                    "name": row.organisation.name,
                    "fullname": row.organisation.title,
                    "roleInOrg": row.role,
                    "isEnterprise": False,
                }
                for row in memberships
            ],
            "auth": {
                "type": "access_token",
                "accessToken": {
                    "displayName": token.label if token else "session",
                    "role": token.scope if token else "write",
                    "createdAt": when(token.created_at if token else account.date_joined),
                },
            },
        }
    )


@door("POST")
def validate_yaml(request: WireRequest) -> HttpResponse:
    """`POST /api/validate-yaml`: is this card's front matter readable? Asked before every commit with a README."""
    try:
        parse_card(text_of(read_json(request), "content").encode())
    except CardError as error:
        raise WireError(400, str(error), extra={"errors": [{"message": str(error)}], "warnings": []}) from error
    return JsonResponse({"errors": [], "warnings": []})


@door("GET")
def user_overview(request: WireRequest, name: str) -> HttpResponse:
    """`GET /api/users/{name}/overview`."""
    account = _account(Account.objects.people().filter(name__iexact=name).first())
    orgs = Membership.objects.filter(member=account).select_related("organisation").order_by("organisation__name")
    shown = [
        {"name": row.organisation.name, "fullname": row.organisation.title, "type": "org", "avatarUrl": ""}
        for row in orgs
    ]
    return JsonResponse(_overview(request, account) | {"orgs": shown})


@door("GET")
def organisation_overview(request: WireRequest, name: str) -> HttpResponse:
    """`GET /api/organizations/{name}/overview`."""
    account = _account(Account.objects.organisations().filter(name__iexact=name).first())
    return JsonResponse(_overview(request, account) | {"numUsers": account.memberships_of.count()})


@door("GET")
def organisation_members(request: WireRequest, name: str) -> HttpResponse:
    """`GET /api/organizations/{name}/members`, in order of name."""
    account = _account(Account.objects.organisations().filter(name__iexact=name).first())
    members = account.memberships_of.select_related("member").order_by("member__name")
    rows = [person(row.member) | {"roleInOrg": row.role, "isAdmin": row.role == MemberRole.ADMIN} for row in members]
    return JsonResponse(rows, safe=False)


@door("GET")
def followers(request: WireRequest, name: str) -> HttpResponse:
    """`GET /api/{users,organizations}/{name}/followers` and `/following`: nobody follows anybody here."""
    _account(Account.objects.filter(name__iexact=name).first())
    return JsonResponse([], safe=False)


@door("GET")
def user_likes(request: WireRequest, name: str) -> HttpResponse:
    """`GET /api/users/{name}/likes`: only of repos that the asker may see."""
    account = _account(Account.objects.people().filter(name__iexact=name).first())
    likes = (
        Like.objects.filter(account=account, repo__in=Repo.objects.visible_to(request.actor))
        .select_related("repo__owner")
        .order_by("-created_at")[:500]
    )
    rows = [
        {
            "repo": {"name": like.repo.full_name, "type": "dataset" if like.repo.is_task else "model"},
            "createdAt": when(like.created_at),
        }
        for like in likes
    ]
    return JsonResponse(rows, safe=False)


@door("GET")
def agent_harnesses(request: WireRequest) -> HttpResponse:
    """`GET /api/agent-harnesses`: newer clients ask once a day; there are none."""
    return JsonResponse({"standardEnvVars": [], "harnesses": {}})


@door("GET", "POST", "PUT", "DELETE", "HEAD")
def not_offered(request: WireRequest, **_parts: str) -> HttpResponse:
    """Services of other hubs that this one does not have: said in a sentence, and not worth a retry."""
    raise WireError(501, "This hub does not offer that service; it keeps bases, adapters and tasks.")


def person(account: Account) -> dict[str, Any]:
    """A person in a list."""
    return {
        "_id": str(account.pk), "user": account.name, "fullname": account.title, "avatarUrl": "", "isPro": False,
        "type": "user",
    }  # fmt: skip


def _account(account: Account | None) -> Account:
    if account is None:
        raise WireError(404, "There is no account of that name.")
    return account


def _overview(request: WireRequest, account: Account) -> dict[str, Any]:
    """What an account has and did, counted as far as the asker may see it."""
    seen = Repo.objects.visible_to(request.actor)
    counts = seen.filter(owner=account).order_by().aggregate(tasks=Count("pk", filter=Q(kind="task")), all=Count("pk"))
    readable = seen.values("pk")
    return {
        "_id": str(account.pk),
        "user": account.name,
        "name": account.name,
        "fullname": account.title,
        "type": "org" if account.is_organisation else "user",
        "avatarUrl": "",
        "details": account.bio or None,
        "isPro": False,
        "numModels": counts["all"] - counts["tasks"],
        "numDatasets": counts["tasks"],
        "numSpaces": 0,
        "numDiscussions": ChangeRequest.objects.filter(author=account, repo__in=readable).count(),
        "numPapers": 0,
        "numUpvotes": 0,
        "numLikes": Like.objects.filter(account=account, repo__in=readable).count(),
        "numFollowing": 0,
        "numFollowers": 0,
        "isFollowing": False,
        "createdAt": when(account.date_joined),
    }
