"""Django application merges: registers the work it does."""

from django.apps import AppConfig


class MergesConfig(AppConfig):
    name = "merges"
    label = "merges"

    def ready(self) -> None:
        from hub.jobs.models import Queue
        from hub.jobs.registry import JobKind, register

        register(JobKind("merges.merge", "merges.work.merging:run", Queue.HEAVY))
        register(JobKind("merges.evaluate", "merges.work.evaluating:run", Queue.HEAVY))
