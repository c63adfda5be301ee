"""Organisations: made, described, and their members added, changed and removed."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from hub.accounts import organisations as room
from hub.accounts.models import Account, MemberRole
from hub.rights import Denied, can_act_for
from merges.pages.shared import actor_of, attempt, signed_in


@signed_in
def organisations(request: HttpRequest) -> HttpResponse:
    """Those one belongs to, and a form for a new one."""
    actor, error = actor_of(request), ""
    assert actor.account is not None
    if request.method == "POST":
        made, error = attempt(
            request,
            lambda: room.create_organisation(
                actor=actor, name=request.POST.get("name", "").strip(),
                display_name=request.POST.get("display_name", "").strip()[:120],
                default_private=request.POST.get("default_private") == "on",
            ),
        )  # fmt: skip
        if made:
            return redirect(f"/settings/organisations/{made.name}")
    mine = actor.account.memberships.select_related("organisation").order_by("organisation__name")
    context = {"memberships": mine, "asked": request.POST, "error": error}
    return render(request, "people/organisations.html", context, status=422 if error else 200)


@signed_in
def organisation(request: HttpRequest, name: str) -> HttpResponse:
    """One organisation: its profile and its members. Administrators change both; everybody may leave."""
    actor = actor_of(request)
    account = Account.objects.filter(name__iexact=name, kind="organisation", is_active=True).first()
    if account is None or actor.account is None:
        raise Http404("There is no organisation of that name.")
    error = ""
    if request.method == "POST":
        _result, error = attempt(request, lambda: _change(request, account))
        if not error:
            gone = request.POST.get("action") == "remove" and request.POST.get("member") == actor.account.name
            return redirect("/settings/organisations" if gone else request.path)
    context = {
        "account": account,
        "members": account.memberships_of.select_related("member").order_by("member__name"),
        "roles": MemberRole.choices,
        "may_admin": can_act_for(actor, account, admin=True),
        "asked": request.POST,
        "error": error,
    }
    return render(request, "people/organisation.html", context, status=422 if error else 200)


def _change(request: HttpRequest, account: Account) -> None:
    """What the pressed button says. Raises Denied and what the room raises."""
    actor, asked = actor_of(request), request.POST
    if actor.token is not None:
        raise Denied("Tokens and rights are changed in a signed-in browser session, never with a token.")
    name, action = asked.get("member", "").strip(), asked.get("action")
    if action == "set":
        role = asked.get("role") if asked.get("role") in MemberRole.values else MemberRole.READ
        room.set_member(actor=actor, organisation=account, name=name, role=str(role))
        messages.success(request, f"{name} is a member with the role {role}.")
    elif action == "remove":
        room.remove_member(actor=actor, organisation=account, name=name)
        messages.success(request, f"{name} is no longer a member of {account.name}.")
    else:
        room.update_profile(
            actor=actor, account=account, display_name=asked.get("display_name", "")[:120],
            bio=asked.get("bio", "")[:2000], default_private=asked.get("default_private") == "on",
        )  # fmt: skip
        messages.success(request, "Saved.")
