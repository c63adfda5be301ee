"""Fixtures on the real services; nothing starts until a test asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from tests import services as support

hypothesis_settings.register_profile("tessera", deadline=None)  # a busy machine is no fault of the code
hypothesis_settings.load_profile("tessera")


@pytest.fixture(scope="session")
def services() -> Iterator[Path]:
    """Database, broker and store are running; the value is their state folder."""
    with support.running() as state:
        yield state


@pytest.fixture(scope="session")
def django_db_modify_db_settings(services: Path) -> None:
    """Have pytest-django copy the migrated template into a database of this run's own."""
    from django.conf import settings
    from django.db import connections

    database = {"NAME": f"test_{support.RUN}", "TEMPLATE": support.template_database()}
    settings.DATABASES["default"].setdefault("TEST", {}).update(database)
    connections["default"].settings_dict["TEST"].update(database)


@pytest.fixture(scope="session")
def live_hub(services: Path) -> Iterator[support.LiveHub]:
    """A running hub (gunicorn, Celery worker with all queues) for tests with real clients and browsers."""
    with support.live_hub() as hub:
        yield hub
