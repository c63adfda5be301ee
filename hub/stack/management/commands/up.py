"""`manage.py up`: run the whole hub on this machine."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hub.stack.process import StackError
from hub.stack.supervisor import Supervisor


def add_arguments(parser: ArgumentParser) -> None:
    """The options of every command that runs the hub."""
    parser.add_argument("--port", type=int, default=8000, help="Port of the web server (8000).")
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on (127.0.0.1: this machine only).")
    parser.add_argument("--state", help="Folder for all data, secrets and logs (.tessera).")
    parser.add_argument("--workers", type=int, default=2, help="Processes of the web server (2).")


def supervisor(options: dict[str, Any]) -> Supervisor:
    """A supervisor for these options."""
    return Supervisor(Path(settings.STATE), host=options["host"], port=options["port"], web_workers=options["workers"])


class Command(BaseCommand):
    help = "Run the hub: database, broker, store, web server, workers and scheduler. Ctrl-C stops them all."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            status = supervisor(options).run()
        except StackError as error:
            raise CommandError(str(error)) from error
        if status:
            raise SystemExit(status)
