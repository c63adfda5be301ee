"""Celery's shell for what the queue does by itself."""

from celery import shared_task

from hub.activity import notices
from hub.review import attachments, schedule


@shared_task(name="hub.review.due", ignore_result=True)
def due() -> None:
    """Delayed rejections, overdue answers, acceptance by rules."""
    schedule.carry_out_due()
    schedule.accept_by_rules()


@shared_task(name="hub.review.tidy", ignore_result=True)
def tidy() -> None:
    """Forget pictures that no comment shows."""
    attachments.forget()


@shared_task(name="hub.review.mail", ignore_result=True)
def mail() -> None:
    """Mail the notices that wait."""
    notices.send_mail()
