"""What beat asks of this room."""

from celery import shared_task

from hub.rest import once


@shared_task(name="hub.rest.forget")
def forget() -> None:
    """Drop answers kept for more than a day."""
    once.forget()
