"""Addresses of the pages. `<owner>` and `<owner>/<name>` come last: they match almost anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from django.urls import URLPattern, path
from django.views.generic import RedirectView

from hub.wire import converters
from merges.pages import (
    access,
    advising,
    asking,
    browse,
    collecting,
    compare,
    device,
    editing,
    evaluations,
    inside,
    jobs,
    lab,
    lab_methods,
    leaderboards,
    mapping,
    merging,
    notices,
    organisations,
    people,
    queue,
    reconciling,
    relatives,
    repo,
    resolving,
    review,
    systems,
    teaching,
    updating,
    webhooks,
)

assert converters  # importing registers the revision converter


def _repo(prefix: str, options: dict[str, Any]) -> list[URLPattern]:
    """The pages of one repo, below `owner/name` (models) or `datasets/owner/name` (tasks)."""
    head = f"{prefix}<str:owner>/<str:name>"
    pages: list[tuple[str, Callable[..., HttpResponse]]] = [
        ("", repo.overview),
        ("/tree/<revision:revision>", repo.files),
        ("/tree/<revision:revision>/<path:inside>", repo.files),
        ("/blob/<revision:revision>/<path:inside>", repo.blob),
        ("/new/<revision:revision>", editing.new),
        ("/edit/<revision:revision>/<path:inside>", editing.edit),
        ("/remove/<revision:revision>/<path:inside>", editing.remove),
        ("/preview", editing.preview),
        ("/commits/<revision:revision>", repo.commits),
        ("/commit/<str:revision>", repo.files),
        ("/compare", compare.choose),
        ("/compare/<str:revisions>", compare.compare),
        ("/lineage", inside.lineage),
        ("/tensors/<revision:revision>", inside.tensors),
        ("/discussions", review.discussions),
        ("/discussions/new", review.propose),
        ("/discussions/<int:number>", review.change_request),
        ("/discussions/<int:number>/act", review.act),
        ("/discussions/<int:number>/looking", queue.looking),
        ("/feed.atom", notices.repo_feed),
        ("/discussions/<int:number>/tensors", reconciling.start),
        ("/discussions/<int:number>/resolve", resolving.page),
        ("/upload", people.upload),
        ("/update", updating.page),
        ("/relatives", relatives.page),
        ("/settings", people.settings),
        ("/access", access.gate),
    ]
    return [path(head + rest, view, options) for rest, view in pages]


urlpatterns = [
    path("", browse.home, name="home"),
    path("browse", browse.browse, name="browse"),
    path("tasks", browse.browse, {"kind": "task"}, name="tasks"),
    path("ask", asking.ask, name="ask"),
    path("advice", advising.page, name="advice"),
    path("map", mapping.page, name="map"),
    path("merge", merging.merge, name="merge"),
    path("merge/preview", lab.preview),
    path("merge/recipe", lab.recipe),
    path("merge/methods", lab_methods.methods),
    path("merge/gallery", lab.gallery),
    path("merge/statistics", lab.statistics),
    path("merge/compare", lab.compare),
    path("merge/comparisons/<int:pk>", lab.comparison),
    path("merge/<int:pk>", lab.merge),
    path("compare", compare.across, name="compare"),
    path("compare/again", compare.again),
    path("teach", teaching.teach, name="teach"),
    path("teachings/<int:pk>", teaching.show),
    path("teachings/<int:pk>/curve", teaching.curve),
    path("teachings/<int:pk>/compare", teaching.compare),
    path("teachings/<int:pk>/compared", teaching.compared),
    path("jobs", jobs.jobs, name="jobs"),
    path("jobs/<uuid:pk>", jobs.job, name="job"),
    path("jobs/<str:owner>/<uuid:pk>", RedirectView.as_view(url="/jobs/%(pk)s")),  # as the Hub client writes it
    path("jobs/<uuid:pk>/cancel", jobs.cancel),
    path("evaluate", evaluations.evaluate, name="evaluate"),
    path("evaluations", evaluations.evaluations, name="evaluations"),
    path("evaluations/history", leaderboards.history),
    path("evaluations/<int:pk>", evaluations.evaluation),
    path("evaluations/<int:pk>/items", evaluations.items),
    path("systems", systems.system_list, name="systems"),
    path("systems/propose", systems.propose),
    path("leaderboards", leaderboards.index, name="leaderboards"),
    path("leaderboards/<str:owner>/<str:name>", leaderboards.task_board),
    path("suites", leaderboards.suite_list, name="suites"),
    path("suites/<slug:name>/<int:version>", leaderboards.suite),
    path("review", queue.page, name="review"),
    path("collections", collecting.index, name="collections"),
    path("collections/<str:owner>/<slug:slug>", collecting.show),
    path("review/replies", queue.reply_list),
    path("review/rules", queue.rule_list),
    path("notices", notices.page, name="notices"),
    path("notices/choices", notices.choices),
    path("notices/unsubscribe/<str:text>", notices.unsubscribe),
    path("feeds/new.atom", notices.new_feed),
    path("feeds/activity.atom", notices.activity_feed),
    path("new", people.new, name="new"),
    path("settings/profile", people.profile_settings),
    path("settings/tokens", people.tokens),
    path("login/device", device.confirm, name="device"),
    path("settings/access", access.waiting),
    path("settings/webhooks", webhooks.webhooks),
    path("settings/organisations", organisations.organisations),
    path("settings/organisations/<str:name>", organisations.organisation),
    path("<str:owner>/<str:name>/releases/<int:number>", systems.act),
    *_repo("datasets/", {"task": True}),
    *_repo("", {}),
    path("<str:owner>", people.profile, name="profile"),
]
