"""Addresses of this room."""

from django.urls import path

from adapters.api import compare, known, relatives, search
from hub.rest.urls import in_every_repo

urlpatterns = [
    path("repos", search.ReposDoor.as_view()),
    path("facets", search.FacetsDoor.as_view()),
    path("compare", compare.CompareDoor.as_view()),
    *in_every_repo(
        (
            ("/facts", known.FactsDoor),
            ("/checks", known.ChecksDoor),
            ("/lineage", known.LineageDoor),
            ("/snippets", known.SnippetsDoor),
            ("/relatives", relatives.RelativesDoor),
            ("/embeddings", relatives.EmbeddingsDoor),
        )
    ),
]
