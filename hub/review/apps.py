"""Django application of the room review."""

from django.apps import AppConfig


class ReviewConfig(AppConfig):
    name = "hub.review"
    label = "review"

    def ready(self) -> None:
        from hub.repos import commits
        from hub.review import change_requests
        from hub.review.models import Attachment
        from hub.store.collect import register_reference

        register_reference(lambda: Attachment.objects.values_list("blob_id", flat=True).distinct())
        commits.register_published(change_requests.note_commit)
        commits.register_ref_right(change_requests.may_write_ref)
