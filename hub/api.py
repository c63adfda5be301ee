"""The REST API: the rooms' addresses together, their schema, and its docs page. It composes, so it alone looks up."""

from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

urlpatterns: list[URLPattern | URLResolver] = [
    path("schema", SpectacularAPIView.as_view(), name="api-schema"),
    path("docs", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    path("", include("adapters.api.urls")),
    path("", include("merges.api.urls")),
    path("", include("hub.rest.urls")),
]
