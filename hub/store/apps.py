"""Django application of the room store."""

from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "hub.store"
    label = "store"
