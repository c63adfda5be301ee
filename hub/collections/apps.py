"""Django application of the room collections."""

from django.apps import AppConfig


class CollectionsConfig(AppConfig):
    name = "hub.collections"
    label = "collections"
