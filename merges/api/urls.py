"""Addresses of this room."""

from django.urls import path

from hub.rest.urls import in_every_repo
from merges.api import advice, boards, comparisons, evaluations, merges, methods, systems, teachings, threeway

urlpatterns = [
    path("methods", methods.MethodsDoor.as_view()),
    path("recipes/lint", methods.LintDoor.as_view()),
    path("recipes/preview", methods.PreviewDoor.as_view()),
    path("merge-partners", methods.PartnersDoor.as_view()),
    path("merge-comparisons", comparisons.ComparisonsDoor.as_view()),
    path("merge-comparisons/<int:comparison>", comparisons.ComparisonDoor.as_view()),
    path("merge-comparisons/<int:comparison>/publish", comparisons.WinnerDoor.as_view()),
    path("statistics", comparisons.StatisticsDoor.as_view()),
    path("advice", advice.AdviceDoor.as_view()),
    path("merges", merges.MergesDoor.as_view()),
    path("merges/<int:merge>", merges.MergeDoor.as_view()),
    path("evaluations", evaluations.EvaluationsDoor.as_view()),
    path("evaluations/matrix", boards.MatrixDoor.as_view()),
    path("evaluations/import", boards.ImportDoor.as_view()),
    path("evaluations/<int:evaluation>", evaluations.EvaluationDoor.as_view()),
    *in_every_repo((("/change-requests/<int:number>/tensor-merge", threeway.TensorMergeDoor),)),
    path("teachings", teachings.TeachingsDoor.as_view()),
    path("teachings/check", teachings.TeachingCheckDoor.as_view()),
    path("teachings/<int:teaching>", teachings.TeachingDoor.as_view()),
    path("teachings/<int:teaching>/compare", teachings.TeachingComparisonDoor.as_view()),
    path("evaluations/<int:evaluation>/items", boards.ItemsDoor.as_view()),
    path("evaluations/<int:evaluation>/items.parquet", boards.ItemsFileDoor.as_view()),
    path("evaluations/<int:evaluation>/lm-eval", boards.LmEvalDoor.as_view()),
    path("leaderboards/<str:owner>/<str:name>", boards.BoardDoor.as_view()),
    path("systems", systems.SystemsDoor.as_view()),
    path("systems/<str:owner>/<str:name>", systems.SystemDoor.as_view()),
    path("systems/<str:owner>/<str:name>/proposals", systems.ProposalsDoor.as_view()),
    path("systems/<str:owner>/<str:name>/releases", systems.ReleasesDoor.as_view()),
    path("systems/<str:owner>/<str:name>/releases/<int:number>", systems.ReleaseDoor.as_view()),
    path("systems/<str:owner>/<str:name>/releases/<int:number>/rollback", systems.RollBackDoor.as_view()),
    path("systems/<str:owner>/<str:name>/releases/<int:number>/release", systems.ReleaseAnywayDoor.as_view()),
    path("suites", boards.SuitesDoor.as_view()),
    path("suites/<slug:suite>/<int:version>", boards.SuiteDoor.as_view()),
    path("suites/<slug:suite>/<int:version>/leaderboard", boards.SuiteBoardDoor.as_view()),
    path("suites/<slug:suite>/<int:version>/runs", boards.SuiteRunDoor.as_view()),
]
