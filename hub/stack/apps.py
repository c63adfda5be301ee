"""Registers the system checks of the whole hub."""

from django.apps import AppConfig


class StackConfig(AppConfig):
    """The embedded services and the checks of the configuration."""

    name = "hub.stack"

    def ready(self) -> None:
        from hub.checks import register_checks

        register_checks()
