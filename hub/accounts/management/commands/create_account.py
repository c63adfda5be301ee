"""`manage.py create_account NAME`: a person or an organisation, for scripts, also while the hub runs."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, transaction

from hub.accounts.models import Role
from hub.accounts.registration import register_organisation, register_person
from hub.stack import services


class Command(BaseCommand):
    help = "Create a person (and print an access token once) or, with --org, an organisation."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--email", default="")
        parser.add_argument("--password", help="Without one the person signs in by password reset only.")
        parser.add_argument("--token", help="Use this text as the access token instead of a random one.")
        parser.add_argument("--role", choices=Role.values, default=Role.CONTRIBUTOR)
        parser.add_argument("--org", action="store_true", help="Create an organisation.")
        parser.add_argument("--members", default="", help="With --org: names, comma-separated; the first is its admin.")
        parser.add_argument("--default-private", action="store_true", help="New repos start private.")
        parser.add_argument("--state", help="State folder of the embedded services.")

    def handle(self, *args: Any, **options: Any) -> None:
        with services.available():
            try:
                with transaction.atomic():
                    self.stdout.write(self._create(options))
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from error
            except IntegrityError as error:
                raise CommandError(f"The name '{options['name']}' or the token is already in use.") from error

    def _create(self, options: dict[str, Any]) -> str:
        if options["org"]:
            members = [name.strip() for name in options["members"].split(",") if name.strip()]
            register_organisation(name=options["name"], members=members, default_private=options["default_private"])
            return f"Organisation {options['name']} created."
        _account, token = register_person(
            name=options["name"],
            email=options["email"],
            password=options["password"],
            role=options["role"],
            token=options["token"],
            default_private=options["default_private"],
        )
        return token
