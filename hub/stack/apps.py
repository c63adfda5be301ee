"""Registers the system checks of the whole hub."""

from django.apps import AppConfig


class StackConfig(AppConfig):
    """The embedded services and the checks of the configuration."""

    name = "hub.stack"
