"""Django application of the room store."""

from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "hub.store"
    label = "store"

    def ready(self) -> None:
        from hub.store.collect import register_reference
        from hub.store.models import PredictionInput

        register_reference(lambda: PredictionInput.objects.values_list("blob_id", flat=True).distinct())
