"""Addresses of the wire. Pages of a repo (`/owner/name`, `/tree/`, `/blob/`, …) are not here."""

from django.http import HttpResponse
from django.urls import URLPattern, path

from hub.wire import (
    access,
    attachments,
    collections,
    commit,
    comparing,
    converters,
    discussions,
    git,
    identity,
    info,
    jobs,
    lfs,
    login,
    preupload,
    refs,
    repos,
    resolve,
    scores,
    storage,
    tree,
    webhooks,
    weights,
)
from hub.wire.asking import View, WireRequest, by_method, door
from hub.wire.errors import WireError, repo_not_found
from hub.wire.upstream import lead_on
from hub.wire.xet_urls import patterns as xet_patterns

assert converters  # importing registers them

_REPO = "api/<repokind:repokind>/<str:owner>/<str:name>"


@door("GET", "HEAD", "POST")
def missing(request: WireRequest, repokind: str = "datasets", **_parts: str) -> HttpResponse:
    """Ids without an owner (`gpt2`): none exist here, but the upstream may have them."""
    raise lead_on(request, repokind, "") or repo_not_found(request)


@door("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
def no_such_route(request: WireRequest, rest: str = "") -> HttpResponse:
    """Everything else below `/api/`: an answer programs can read."""
    raise WireError(404, "There is no such address in this hub's API.")


NOT_OFFERED = (
    "spaces kernels buckets papers daily_papers scheduled-jobs inference-endpoints resource-groups kernels-search"
).split()
"""What other hubs have and this one has not; each answers 501 with a sentence."""


def _files(prefix: str, repokind: str) -> list[URLPattern]:
    """Addresses outside `/api/`: files and LFS."""
    kind = {"repokind": repokind}
    large = f"{prefix}<str:owner>/<str:name>.git/info/lfs"
    return [
        path(f"{prefix}<str:owner>/<str:name>/resolve/<revision:revision>/<inside:path>", resolve.resolve, kind),
        path(f"{prefix}<str:owner>/<str:name>/raw/<revision:revision>/<inside:path>", resolve.resolve, kind),
        *_git(f"{prefix}<str:owner>/<str:name>.git", kind),
        *_git(f"{prefix}<str:owner>/<str:name>", kind),
        path(f"{large}/objects/batch", lfs.batch, kind),
        path(f"{large}/verify", lfs.verify, kind),
        path(f"{large}/complete/<str:ticket>", lfs.complete, kind),
        path(f"{large}/chunked/<str:ticket>", lfs.chunked, kind),
        path(f"{large}/locks", lfs.no_locks, kind),
        path(f"{large}/locks/<path:rest>", lfs.no_locks, kind),
    ]


def _git(base: str, kind: dict[str, str]) -> list[URLPattern]:
    """Git's own addresses of a repo; a clone may be asked for with or without `.git`."""
    return [
        path(f"{base}/info/refs", git.info_refs, kind),
        path(f"{base}/git-upload-pack", git.upload_pack, kind),
        path(f"{base}/git-receive-pack", git.receive_pack, kind),
    ]


def _api(rest: str, view: View) -> URLPattern:
    return path(f"{_REPO}{rest}", view)


urlpatterns = [
    *xet_patterns,
    path("api/whoami-v2", identity.whoami),
    path("oauth/device", login.device),
    path("oauth/token", login.token),
    path("api/validate-yaml", identity.validate_yaml),
    path("api/agent-harnesses", identity.agent_harnesses),
    path("api/users/<str:name>/overview", identity.user_overview),
    path("api/users/<str:name>/likes", identity.user_likes),
    path("api/organizations/<str:name>/overview", identity.organisation_overview),
    path("api/organizations/<str:name>/members", identity.organisation_members),
    *[
        path(f"api/{kind}/<str:name>/{rest}", identity.followers)
        for kind, rest in (("users", "followers"), ("users", "following"), ("organizations", "followers"))
    ],
    path("api/collections", by_method(GET=collections.list_collections, POST=collections.create)),
    path(
        "api/collections/<str:owner>/<str:slug>",
        by_method(GET=collections.show, PATCH=collections.update, DELETE=collections.delete),
    ),
    path("api/collections/<str:owner>/<str:slug>/resource-group", collections.resource_group),
    path("api/collections/<str:owner>/<str:slug>/items", collections.add_item),
    path(
        "api/collections/<str:owner>/<str:slug>/items/<str:item>",
        by_method(PATCH=collections.update_item, DELETE=collections.delete_item),
    ),
    path("api/settings/webhooks", by_method(GET=webhooks.list_webhooks, POST=webhooks.create)),
    path(
        "api/settings/webhooks/<str:key>",
        by_method(GET=webhooks.show, POST=webhooks.update, DELETE=webhooks.delete),
    ),
    path("api/settings/webhooks/<str:key>/<str:action>", webhooks.switch),
    path("api/settings/repositories", storage.repositories),
    path("api/organizations/<str:name>/settings/repositories", storage.repositories),
    path("api/jobs/hardware", jobs.hardware),
    path("api/jobs/<str:namespace>", by_method(GET=jobs.list_jobs, POST=jobs.not_here)),
    path("api/jobs/<str:namespace>/<uuid:job>", jobs.inspect),
    path("api/jobs/<str:namespace>/<uuid:job>/cancel", jobs.cancel),
    path("api/jobs/<str:namespace>/<uuid:job>/logs", jobs.logs),
    path("api/jobs/<str:namespace>/<uuid:job>/<path:rest>", jobs.not_here),
    path("api/jobs/<str:namespace>/<str:name>", jobs.no_such_job),
    path("api/jobs/<str:namespace>/<str:name>/<path:rest>", jobs.no_such_job),
    path("api/repos/create", repos.create),
    path("api/repos/delete", repos.delete),
    path("api/repos/move", repos.move),
    path("api/<repokind:repokind>", info.list_repos),
    path("api/<repokind:repokind>-tags-by-type", info.tags_by_type),
    _api("", info.info),
    _api("/revision/<revision:revision>", info.info),
    _api("/tree/<revision:revision>", tree.tree),
    _api("/tree/<revision:revision>/<inside:path>", tree.tree),
    _api("/paths-info/<revision:revision>", tree.paths_info),
    _api("/preupload/<revision:revision>", preupload.preupload),
    _api("/commit/<revision:revision>", commit.commit),
    _api("/refs", refs.list_refs),
    _api("/branch/<revision:branch>", by_method(POST=refs.create_branch, DELETE=refs.delete_branch)),
    _api("/tag/<revision:revision>", by_method(POST=refs.create_tag, DELETE=refs.delete_tag)),
    _api("/commits/<revision:revision>", refs.list_commits),
    _api("/super-squash/<revision:branch>", refs.super_squash),
    _api("/discussions", by_method(GET=discussions.list_discussions, POST=discussions.open_discussion)),
    _api("/discussions/<int:number>", discussions.discussion),
    _api("/discussions/<int:number>/comment", discussions.comment),
    _api("/discussions/<int:number>/comment/<int:key>/edit", discussions.edit_comment),
    _api("/discussions/<int:number>/comment/<int:key>/hide", discussions.hide_comment),
    _api("/discussions/<int:number>/title", discussions.title),
    _api("/discussions/<int:number>/status", discussions.status),
    _api("/discussions/<int:number>/merge", discussions.merge),
    _api("/settings", repos.settings),
    _api("/auth-check", repos.auth_check),
    _api("/auth-check/<str:verb>", repos.auth_check),
    _api("/duplicate", repos.duplicate),
    _api("/compare/<inside:revisions>", comparing.compare),
    _api("/user-access-request/handle", access.handle),
    _api("/user-access-request/grant", access.grant),
    _api("/user-access-request/<str:status>", access.list_requests),
    _api("/lfs-files", storage.lfs_files),
    _api("/lfs-files/batch", storage.delete_lfs_files),
    _api("/safetensors-metadata/<inside:path>", weights.safetensors_metadata),
    _api("/leaderboard", scores.leaderboard),
    _api("/lfs-files/duplicate", storage.duplicate_lfs_files),
    _api("/parquet", identity.not_offered),
    _api("/like", repos.like),
    _api("/likers", repos.likers),
    path("api/<repokind:repokind>/<str:name>", missing),
    path("api/<repokind:repokind>/<str:name>/revision/<revision:revision>", missing),
    path("api/<repokind:repokind>/<str:name>/tree/<inside:rest>", missing),
    *[path(f"api/{name}", identity.not_offered) for name in NOT_OFFERED],
    *[path(f"api/{name}/<path:rest>", identity.not_offered) for name in NOT_OFFERED],
    path("uploads", attachments.send),
    path("uploads/<str:name>", attachments.show),
    *[path(f"{name}/<path:rest>", identity.not_offered) for name in ("spaces", "kernels", "buckets", "papers")],
    path("api/<path:rest>", no_such_route),
    *_files("datasets/", "datasets"),
    path("datasets/<str:name>/resolve/<revision:revision>/<inside:path>", missing),
    *_files("", "models"),
    path("<str:name>/resolve/<revision:revision>/<inside:path>", missing, {"repokind": "models"}),
]
