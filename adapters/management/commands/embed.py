"""`manage.py embed --all`: place every head whose vectors are missing or outdated; goes on where it stopped."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hub.repos.models import Commit, Kind, Repo


class Command(BaseCommand):
    help = "Place adapters and tasks among the others again: those named, or all whose vectors are not current."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("repos", nargs="*", help="owner/name, each placed anew even if it is current.")
        parser.add_argument("--all", action="store_true", help="Every head whose vectors are missing or outdated.")

    def handle(self, *args: Any, **options: Any) -> None:
        from adapters.catalog import placing

        if not options["all"] and not options["repos"]:
            raise CommandError("Say which repos, or --all.")
        repos = Repo.objects.exclude(kind=Kind.BASE).exclude(head="").select_related("owner").order_by("pk")
        chosen = [repo for repo in repos.iterator() if not placing.is_current(repo)] if options["all"] else []
        for name in options["repos"]:
            found = list(repos.with_id(name)) if name.count("/") == 1 else []
            if not found:
                raise CommandError(f"There is no adapter or task {name} with a commit.")
            chosen += found
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        failed = 0
        with Progress(*columns, console=Console()) as shown:
            whole = shown.add_task("Placing", total=len(chosen))
            for repo in chosen:
                shown.update(whole, description=repo.full_name)
                commit = Commit.objects.filter(repo=repo, sha=repo.head).first()
                if commit is not None:
                    try:
                        placing.write(repo, commit, placing.place(repo, commit, lambda *_: None), None)
                    except Exception as error:  # one repo that cannot be placed must not hold up the others
                        failed += 1
                        self.stderr.write(f"{repo.full_name}: {error}")
                shown.advance(whole)
        self.stdout.write(f"Placed {len(chosen) - failed} of {len(chosen)}.")
