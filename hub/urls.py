"""All addresses. This module composes: it alone, `hub.api` and the home page look up at the higher rooms."""

from django.conf import settings
from django.urls import URLPattern, URLResolver, include, path

from hub.pages import health
from hub.pages.styleguide import styleguide

handler400 = "hub.pages.failing.bad_request"
handler403 = "hub.pages.failing.not_allowed"
handler404 = "hub.pages.failing.not_found"
handler500 = "hub.pages.failing.broken"

urlpatterns: list[URLPattern | URLResolver] = [
    path("accounts/", include("allauth.urls")),
    path("health/alive", health.alive),
    path("health/ready", health.ready),
    path("api/v1/", include("hub.api")),
    path("v1/", include("adapters.api.openai_urls")),
    path("", include("hub.wire.urls")),
]

if settings.DEBUG:
    urlpatterns.append(path("styleguide/", styleguide, name="styleguide"))

urlpatterns.append(path("", include("merges.pages.urls")))
