"""HOSTS people, repos, bytes, jobs and review.

People, programs and workers come in; pages, git objects and addresses of bytes leave.
Nothing here knows what a tensor is: what is inside a file is understood one floor up.
"""

from hub.celery import app as celery_app

__all__ = ["celery_app"]
