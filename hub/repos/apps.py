"""Django application of the room repos."""

from django.apps import AppConfig


class ReposConfig(AppConfig):
    name = "hub.repos"
    label = "repos"

    def ready(self) -> None:
        from hub.repos.models import GitObject
        from hub.store.collect import register_reference

        register_reference(
            lambda: GitObject.objects.filter(large__isnull=False).values_list("large_id", flat=True).distinct()
        )
