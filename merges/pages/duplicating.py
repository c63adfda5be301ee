"""A repo's files as the beginning of another repo, asked for on a page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from hub.repos import copying
from hub.rights import owners_for
from merges.pages.shared import actor_of, attempt, owner_among, repo_or_404, repo_page, signed_in


@signed_in
def page(request: HttpRequest, owner: str, name: str, task: bool = False) -> HttpResponse:
    """Owner, name and visibility of the copy; then the copy itself."""
    source, actor, asked = repo_or_404(request, owner, name, task=task), actor_of(request), request.POST
    owners, error = owners_for(actor), ""
    if request.method == "POST":
        copy, error = attempt(
            request,
            lambda: copying.duplicate(
                actor=actor, source=source, owner=owner_among(owners, asked.get("owner", "")),
                name=asked.get("name", "").strip(), private=asked.get("private") == "on",
            ),
            announced=False,
        )  # fmt: skip
        if copy:
            return redirect(copy.get_absolute_url())
    suggested = f"{source.name}-copy" if source.owner in owners else source.name
    private = asked.get("private") == "on" if asked else source.private or owners[0].default_private
    response = repo_page(
        request, "repos/duplicate.html", source, "", owners=owners, asked=asked, error=error, private=private,
        suggested=suggested,
    )  # fmt: skip
    response.status_code = 422 if error else 200
    return response
