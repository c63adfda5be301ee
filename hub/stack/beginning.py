"""What must be there before anything serves: a migrated database and a bucket."""

import time
from collections.abc import Callable

from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from hub.store.objects import ensure_bucket

ADVISORY_LOCK = 7_301_200_911
"""Two machines that start together migrate one after the other."""


def begin(say: Callable[[str], None] = lambda line: None) -> None:
    """Apply missing migrations and create the bucket, telling `say` what was done."""
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
    ensure_bucket()
