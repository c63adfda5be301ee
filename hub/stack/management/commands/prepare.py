"""`manage.py prepare`: what a deployment runs before its processes start."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hub.stack.beginning import begin
from hub.stack.process import StackError


class Command(BaseCommand):
    help = "Apply missing migrations and create the bucket, on the services named by the environment."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            begin(self.stdout.write)
        except StackError as error:
            raise CommandError(str(error)) from error
