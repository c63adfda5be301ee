"""`manage.py demo`: run the hub on this machine and fill it with real content."""

import os
import subprocess
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hub.stack.management.commands import up
from hub.stack.process import StackError


class Command(BaseCommand):
    help = "Run the hub, fill it with real content if it is empty, then serve it (or stop, with --exit)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        up.add_arguments(parser)
        parser.add_argument("--exit", action="store_true", help="Stop when the hub is filled.")
        parser.add_argument("--with-smollm2", action="store_true", help="Also publish SmolLM2-135M as a base.")

    def handle(self, *args: Any, **options: Any) -> None:
        supervisor = up.supervisor(options)

        def fill() -> None:
            """In a process of its own: it needs torch, and the settings of the hub that has just started."""
            words = [sys.executable, "manage.py", "fill_demo", "--url", supervisor.url, "--state", str(settings.STATE)]
            if options["with_smollm2"]:
                words.append("--with-smollm2")
            subprocess.run(words, check=True, cwd=settings.BASE_DIR, env={**os.environ, "OMP_NUM_THREADS": "1"})

        try:
            status = supervisor.run(fill, exit_after=options["exit"])
        except StackError as error:
            raise CommandError(str(error)) from error
        if status:
            raise SystemExit(status)
