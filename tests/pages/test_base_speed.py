"""A base of many specialists: its page finds them by an index, not by reading every repo."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.repos.models import Kind, Repo
from tests.people import make_people, make_repo, put

BASES, EACH = 150, 20


@pytest.mark.django_db
def test_the_specialists_of_a_base_are_found_by_their_index() -> None:
    alice = make_people().alice
    put(alice, make_repo(alice, "base-7", kind=Kind.BASE), {"README.md": b"# Base"})
    Repo.objects.bulk_create(
        Repo(owner=alice, name=f"adapter-{number}", head="0" * 40,
             private=number % 5 == 0, facts={"base": f"alice/base-{number % BASES}", "rank": 8, "method": "lora"})
        for number in range(BASES * EACH)
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE repos_repo")
    with CaptureQueriesContext(connection) as asked:
        page = Client().get("/alice/base-7").content.decode()
    assert "alice/adapter-" in page
    found = [query["sql"] for query in asked if "'base'" in query["sql"]]
    assert len(found) == 2, "their number, and the newest"
    for query in found:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {query}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert "repo_by_base" in plan, plan
