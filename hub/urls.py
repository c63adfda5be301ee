"""All addresses. This module composes: it alone, `hub.api` and the home page look up at the higher rooms."""

from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("accounts/", include("allauth.urls")),
]
