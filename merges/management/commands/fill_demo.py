"""`manage.py fill_demo`: put the demo's content into a hub that is running."""

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

ESTIMATE = "about six minutes on two cores"
QUIET_CLIENT = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""The base is larger than what travels inside a commit, so it goes by LFS."""


class Command(BaseCommand):
    help = "Fill a running hub with a real base, tasks, specialists, a merge, evaluations and change requests."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", required=True, help="Address of the running hub.")
        parser.add_argument("--state", help="State folder of the hub.")
        parser.add_argument("--with-smollm2", action="store_true", help="Also publish SmolLM2-135M as a base.")

    def handle(self, *args: Any, **options: Any) -> None:
        os.environ |= {"HF_ENDPOINT": options["url"], **QUIET_CLIENT}
        from merges.demo.fill import DemoFault, fill
        from merges.demo.people import ORGANISATION

        console = Console()
        console.print(f"Filling the hub with real content: {ESTIMATE} the first time.")
        columns = TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=console) as progress:
            bars: dict[str, TaskID] = {}

            def step(name: str, done: int, total: int) -> None:
                if name not in bars:
                    bars[name] = progress.add_task(name, total=total)
                progress.update(bars[name], completed=done, total=total)

            try:
                people = fill(options["url"], step, with_smollm2=options["with_smollm2"])
            except DemoFault as error:
                raise CommandError(str(error)) from error
        console.print(f"The hub is filled. Sign in at {options['url']}/accounts/login/ as:")
        for name, password in people.passwords.items():
            role = "maintainer" if name == "emmy" else f"contributor, member of {ORGANISATION}"
            console.print(f"  {name:<6} {password}   ({role})", highlight=False)
