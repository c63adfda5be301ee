"""`manage.py check_store`: compare database and bucket both ways; exits 1 if they disagree."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hub.stack import services
from hub.store.verify import verify


class Command(BaseCommand):
    help = "Compare database and object store both ways. Changes nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--hashes", action="store_true", help="Read and hash every blob (slow).")
        parser.add_argument("--state", help="State folder of the embedded services.")

    def handle(self, *args: Any, **options: Any) -> None:
        with services.available():
            report = verify(hashes=options["hashes"])
        for title, rows in (
            ("missing in the store", report.missing),
            ("of another size in the store", report.wrong_size),
            ("with other bytes in the store", report.wrong_hash),
            ("in the store but unknown to the database", report.unknown),
        ):
            for row in rows:
                self.stdout.write(f"{title}: {row}")
        if not report.ok:
            raise CommandError("Database and store disagree.")
        self.stdout.write(f"{report.checked} blobs and xorbs, all in order.")
