"""Addresses of this room."""

from django.urls import path

from adapters.api import asking, compare, inside, known, mapping, relatives, search, updates
from hub.rest.urls import in_every_repo

urlpatterns = [
    path("repos", search.ReposDoor.as_view()),
    path("facets", search.FacetsDoor.as_view()),
    path("compare", compare.CompareDoor.as_view()),
    path("route", asking.RouteDoor.as_view()),
    path("predict", asking.PredictDoor.as_view()),
    path("nearest", asking.NearestDoor.as_view()),
    path("placing", asking.AboutDoor.as_view()),
    path("router", asking.ExportDoor.as_view()),
    path("map", mapping.MapDoor.as_view()),
    *in_every_repo(
        (
            ("/facts", known.FactsDoor),
            ("/checks", known.ChecksDoor),
            ("/lineage", known.LineageDoor),
            ("/snippets", known.SnippetsDoor),
            ("/tensors", inside.TensorsDoor),
            ("/tensors/history", inside.HistoryDoor),
            ("/updates", updates.UpdatesDoor),
            ("/relatives", relatives.RelativesDoor),
            ("/embeddings", relatives.EmbeddingsDoor),
        )
    ),
]
