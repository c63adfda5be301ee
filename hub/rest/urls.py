"""Addresses of this room: `/repos/{owner}/{name}/…` for bases and adapters, `/tasks/{owner}/{name}/…` for tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.urls import URLPattern, path

from hub.rest import access, collections, files, people, queue, repos, review, work

KINDS = ("repos", "tasks")
IN_A_REPO: Sequence[tuple[str, Any]] = (
    ("", repos.RepoDoor),
    ("/move", repos.MoveDoor),
    ("/like", repos.LikeDoor),
    ("/refs", repos.RefsDoor),
    ("/refs/branches/<path:ref>", repos.BranchDoor),
    ("/refs/tags/<path:ref>", repos.TagDoor),
    ("/tree", files.TreeDoor),
    ("/files/<path:path>", files.FileDoor),
    ("/download/<path:path>", files.DownloadDoor),
    ("/commits", files.CommitsDoor),
    ("/commits/<str:sha>", files.CommitDoor),
    ("/commit", files.NewCommitDoor),
    ("/uploads", files.UploadsDoor),
    ("/uploads/<uuid:upload>/finish", files.FinishDoor),
    ("/change-requests", review.ChangeRequestsDoor),
    ("/change-requests/<int:number>", review.ChangeRequestDoor),
    ("/change-requests/<int:number>/diff", review.DiffDoor),
    ("/change-requests/<int:number>/comments", review.CommentsDoor),
    ("/change-requests/<int:number>/comments/<int:comment>", review.CommentDoor),
    ("/change-requests/<int:number>/conflicts", review.ConflictsDoor),
    ("/change-requests/<int:number>/merge", review.MergeDoor),
    ("/change-requests/<int:number>/decisions", review.DecisionsDoor),
    ("/change-requests/<int:number>/comments/<int:comment>/reactions/<str:sign>", queue.ReactionsDoor),
    ("/change-requests/<int:number>/notes", queue.NotesDoor),
    ("/change-requests/<int:number>/hand-over", queue.HandOverDoor),
    ("/change-requests/<int:number>/subscription", queue.SubscriptionDoor),
    ("/gate", access.GateDoor),
    ("/access-requests", access.AccessDoor),
    ("/access-requests/<str:account>", access.AccessAnswerDoor),
    ("/standing", queue.StandingDoor),
    ("/activity", work.RepoActivityDoor),
)


def in_every_repo(routes: Sequence[tuple[str, Any]]) -> list[URLPattern]:
    """Each route below both kinds of address; views find the kind in their arguments."""
    return [
        path(f"{kind}/<str:owner>/<str:name>{rest}", view.as_view(), {"kind": kind})
        for kind in KINDS
        for rest, view in routes
    ]


urlpatterns = [
    path("me", people.MeDoor.as_view()),
    path("organisations", people.OrganisationsDoor.as_view()),
    path("accounts/<str:account>", people.AccountDoor.as_view()),
    path("accounts/<str:account>/members", people.MembersDoor.as_view()),
    path("accounts/<str:account>/members/<str:member>", people.MemberDoor.as_view()),
    path("tokens", people.TokensDoor.as_view()),
    path("tokens/<int:token>", people.TokenDoor.as_view()),
    path("jobs", work.JobsDoor.as_view()),
    path("jobs/<uuid:job>", work.JobDoor.as_view()),
    path("jobs/<uuid:job>/cancel", work.CancelDoor.as_view()),
    path("queue", queue.QueueDoor.as_view()),
    path("queue/statistics", queue.StatisticsDoor.as_view()),
    path("queue/replies", queue.RepliesDoor.as_view()),
    path("queue/replies/<int:reply>", queue.ReplyDoor.as_view()),
    path("queue/rules", queue.RulesDoor.as_view()),
    path("queue/rules/<int:rule>", queue.RuleDoor.as_view()),
    path("queue/samples", queue.SamplesDoor.as_view()),
    path("queue/samples/<int:sample>", queue.SampleDoor.as_view()),
    path("collections", collections.CollectionsDoor.as_view()),
    path("collections/<slug:key>", collections.CollectionDoor.as_view()),
    path("collections/<slug:key>/items", collections.ItemsDoor.as_view()),
    path("collections/<slug:key>/items/<slug:item>", collections.ItemDoor.as_view()),
    path("access-requests", access.WaitingAccessDoor.as_view()),
    path("notices", queue.NoticesDoor.as_view()),
    path("notices/choices", queue.ChoicesDoor.as_view()),
    path("activity", work.ActivityDoor.as_view()),
    *in_every_repo(IN_A_REPO),
]
