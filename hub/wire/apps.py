"""Django application of the room wire."""

from django.apps import AppConfig


class WireConfig(AppConfig):
    name = "hub.wire"
    label = "wire"
