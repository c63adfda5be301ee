"""Django application of the room webhooks."""

from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "hub.webhooks"
    label = "webhooks"

    def ready(self) -> None:
        from hub.activity.record import register_listener
        from hub.jobs.registry import JobKind, register
        from hub.webhooks.watching import KIND, on_event

        register(JobKind(KIND, "hub.webhooks.delivering:run"))
        register_listener(on_event)
