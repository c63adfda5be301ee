from pathlib import Path

import pytest

from tests.people import People, make_people
from tests.world import World, make_world


@pytest.fixture
def people(db: None) -> People:
    return make_people()


@pytest.fixture
def world(people: People, tmp_path: Path) -> World:
    return make_world(people, tmp_path)
