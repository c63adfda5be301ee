"""Addresses of this room."""

from django.urls import path

from merges.api import evaluations, merges, methods

urlpatterns = [
    path("methods", methods.MethodsDoor.as_view()),
    path("recipes/lint", methods.LintDoor.as_view()),
    path("merges", merges.MergesDoor.as_view()),
    path("merges/<int:merge>", merges.MergeDoor.as_view()),
    path("evaluations", evaluations.EvaluationsDoor.as_view()),
    path("evaluations/<int:evaluation>", evaluations.EvaluationDoor.as_view()),
]
