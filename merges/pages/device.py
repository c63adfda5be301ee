"""The page where a person lets a program in that shows them a code."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from hub.accounts import devices
from hub.accounts.models import Scope
from merges.pages.shared import actor_of, attempt, signed_in


@signed_in
def confirm(request: HttpRequest) -> HttpResponse:
    """Type the code, look who asks, then allow or refuse. Nothing happens on GET."""
    asked = request.POST if request.method == "POST" else request.GET
    code = asked.get("code", "").strip()[:20]
    row = devices.waiting(code) if code else None
    context = {"code": code, "row": row, "unknown": bool(code) and row is None, "done": ""}
    answer = asked.get("answer") if request.method == "POST" else None
    if row is not None and answer in ("allow", "refuse"):
        scope = Scope.READ if asked.get("scope") == "read" else Scope.WRITE
        _done, error = attempt(
            request, lambda: devices.decide(actor=actor_of(request), row=row, allow=answer == "allow", scope=scope)
        )
        if not error:
            context["done"] = answer
    return render(request, "people/device.html", context, status=404 if context["unknown"] else 200)
