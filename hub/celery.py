"""The Celery application: queues `fast`, `heavy` and `gpu`. A message is a knock; the Job row is the truth."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

app = Celery("tessera")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["hub.jobs", "hub.repos", "hub.rest", "hub.review"])
