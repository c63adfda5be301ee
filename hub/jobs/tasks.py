"""Celery's shell: a message carries a job's id; everything else is in the row."""

import os
import socket

from celery import shared_task

from hub.jobs import apart, queue, working


@shared_task(name="hub.jobs.run", ignore_result=True, acks_late=True)
def run(job_id: str) -> None:
    """Do one job."""
    apart.run_job(job_id, worker=f"{socket.gethostname()}:{os.getpid()}")


@shared_task(name="hub.jobs.reap", ignore_result=True)
def reap() -> None:
    """Give jobs of lost workers back, and knock again for them at once."""
    if working.reap():
        resend()


@shared_task(name="hub.jobs.resend", ignore_result=True)
def resend() -> None:
    """Knock again for jobs whose message was lost."""
    for job in working.waiting_unsent():
        queue.knock(job)
