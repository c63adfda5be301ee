"""`manage.py collect_garbage`: one run of the two-phase collection."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from hub.stack import services
from hub.store.collect import collect


class Command(BaseCommand):
    help = "Mark unreferenced blobs; delete those marked longer than the grace period; forget expired uploads."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--state", help="State folder of the embedded services.")

    def handle(self, *args: Any, **options: Any) -> None:
        with services.available():
            done = collect()
        self.stdout.write(
            f"{done.marked} marked, {done.deleted} deleted ({done.bytes_freed} bytes), "
            f"{done.uploads_expired} uploads forgotten, {done.xorbs_deleted} xorbs and {done.wholes_dropped} "
            "whole copies of files in chunks deleted."
        )
