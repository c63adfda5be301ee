"""`manage.py prepare`: what a deployment runs before its processes start."""

from typing import Any

from django.core.management.base import BaseCommand

from hub.stack.beginning import begin


class Command(BaseCommand):
    help = "Apply missing migrations and create the bucket, on the services named by the environment."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        begin(self.stdout.write)
