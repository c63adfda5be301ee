"""What must be there before anything serves: a migrated database and a bucket."""

import time
from collections.abc import Callable

from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from hub.stack.process import StackError
from hub.store.objects import StoreError, ensure_bucket

ADVISORY_LOCK = 7_301_200_911
"""Two machines that start together migrate one after the other."""


def begin(say: Callable[[str], None] = lambda line: None) -> None:
    """Apply missing migrations and create the bucket, telling `say` what was done.

    Raises StackError when the database or the store does not answer.
    """
    try:
        _migrate(say)
    except OperationalError as error:
        address = f"{connection.settings_dict['HOST']}:{connection.settings_dict['PORT'] or 5432}"
        raise StackError(f"The database at {address} cannot be used; check DATABASE_URL. It said: {error}") from error
    try:
        ensure_bucket()
    except StoreError as error:
        raise StackError(f"{error} Check S3_ENDPOINT_URL, the keys and S3_BUCKET ('{settings.S3_BUCKET}').") from error


def _migrate(say: Callable[[str], None]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan:
            began = time.monotonic()
            call_command("migrate", verbosity=0, skip_checks=True)
            say(f"applied {len(plan)} migrations in {time.monotonic() - began:.1f} s")
    finally:
        connection.close()
