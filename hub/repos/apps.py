"""Django application of the room repos."""

from django.apps import AppConfig


class ReposConfig(AppConfig):
    name = "hub.repos"
    label = "repos"

    def ready(self) -> None:
        from hub.jobs.models import Queue
        from hub.jobs.registry import JobKind, register
        from hub.repos import chunking, commits, freeing, hot
        from hub.repos.models import GitObject
        from hub.store.collect import register_reference

        register_reference(
            lambda: GitObject.objects.filter(large__isnull=False).values_list("large_id", flat=True).distinct()
        )
        register(JobKind(chunking.KIND, "hub.repos.chunking:run", Queue.HEAVY))
        register(JobKind(hot.KIND, "hub.repos.hot:run", Queue.HEAVY))
        register(JobKind(freeing.KIND, "hub.repos.freeing:run", Queue.HEAVY))
        commits.register_published(chunking.after_commit)
