"""Celery's shell for what the store forgets by itself."""

from celery import shared_task

from hub.repos import freeing
from hub.store.collect import collect


@shared_task(name="hub.repos.sweep", ignore_result=True)
def sweep() -> None:
    """One run of the two-phase collection, after what still follows from deleted files was set free of them."""
    freeing.sweep()
    collect()
