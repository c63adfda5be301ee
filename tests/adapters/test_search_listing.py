"""Search and facets: what is found, what is counted, what stays hidden, and in how many queries."""

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from adapters.search.facets import facets
from adapters.search.filters import Filters
from adapters.search.listing import listing
from hub.accounts.actor import NOBODY
from hub.repos.models import Kind, Repo
from tests.people import People


def make(people: People, name: str, *tags: str, owner: str = "alice", **fields: object) -> Repo:
    return Repo.objects.create(owner=getattr(people, owner), name=name, tags=list(tags), **{"head": "1" * 40} | fields)


@pytest.fixture
def shelf(people: People) -> People:
    make(people, "tiny", "license:mit", "en", owner="acme", kind=Kind.BASE, downloads=9)
    make(people, "moods", "license:mit", "en", owner="acme", kind=Kind.TASK)
    make(people, "mood-lora", "license:mit", "lora", "en", "dataset:acme/moods", "base_model:acme/tiny",
         "base_model:adapter:acme/tiny", likes=5, description="Tells moods apart")  # fmt: skip
    make(
        people, "mood-ia3", "license:apache-2.0", "ia3", "de", "dataset:acme/moods", "base_model:acme/tiny", owner="bob"
    )
    make(people, "secret", "license:secret-1.0", "lora", "cs", owner="charlie", private=True)
    return people


def names(people: People, who: str | None, query: str, sort: str = "updated") -> list[str]:
    return [repo.name for repo in listing(people.actor(who), Filters.from_query(QueryDict(query)), sort)]


def test_an_empty_repo_stands_only_among_its_owners(shelf: People) -> None:
    make(shelf, "mood-begun", owner="bob", head="")
    assert "mood-begun" not in names(shelf, "bob", "q=mood")
    assert names(shelf, None, "owner=bob", "name") == ["mood-begun", "mood-ia3"]


def test_words_and_ticks(shelf: People) -> None:
    assert names(shelf, None, "", "name") == ["mood-ia3", "mood-lora", "moods", "tiny"]
    assert names(shelf, None, "q=APART") == ["mood-lora"]
    assert names(shelf, None, "q=bob/mood") == ["mood-ia3"]
    assert names(shelf, None, "q=mood+acme", "name") == ["moods"]
    assert names(shelf, None, "method=LoRA") == ["mood-lora"]
    assert names(shelf, None, "method=lora&method=ia3", "name") == ["mood-ia3", "mood-lora"]
    assert names(shelf, None, "base=acme/tiny&license=apache-2.0") == ["mood-ia3"]
    assert names(shelf, None, "task=acme/moods&language=en&owner=ALICE&kind=adapter") == ["mood-lora"]
    assert names(shelf, None, "", "downloads")[0] == "tiny"
    assert names(shelf, None, "", "likes")[0] == "mood-lora"
    assert names(shelf, None, "q=%25") == []
    assert names(shelf, None, "q=a%00b&tag=%00&kind=nonsense") == []


def test_counts_leave_out_their_own_ticks(shelf: People) -> None:
    counted = facets(NOBODY, Filters(method=("lora",)))
    assert {value.label: (value.count, value.selected) for value in counted["method"]} == {
        "LoRA": (1, True),
        "IA3": (1, False),
    }
    assert {value.value: value.count for value in counted["license"]} == {"mit": 1}
    assert {value.value for value in facets(NOBODY, Filters())["base"]} == {"acme/tiny"}
    assert [value.value for value in facets(NOBODY, Filters(tag=("nowhere",)))["tag"]] == ["nowhere"]


def test_what_is_private_is_not_counted_for_strangers(shelf: People) -> None:
    for who in (None, "alice", "mary"):
        counted = facets(shelf.actor(who), Filters())
        assert "secret-1.0" not in [value.value for value in counted["license"]]
        assert "charlie" not in [value.value for value in counted["owner"]]
        assert names(shelf, who, "q=secret") == []
    assert "secret-1.0" in [value.value for value in facets(shelf.actor("charlie"), Filters())["license"]]


def test_ten_thousand_repos(people: People) -> None:
    Repo.objects.bulk_create(
        Repo(owner=people.alice, name=f"repo-{n}", head="1" * 40, description=f"Number {n}", private=n % 50 == 0,
             tags=[f"license:l{n % 9}", "lora", "peft", "en", f"base_model:acme/b{n % 20}", f"dataset:acme/t{n % 300}"])
        for n in range(10_000)
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE repos_repo")
    actor = people.actor("bob")
    for query in ("", "q=number+77&license=l7&base=acme/b2&method=lora"):
        filters = Filters.from_query(QueryDict(query))
        with CaptureQueriesContext(connection) as queries:
            found = listing(actor, filters)
            assert found.count() > 0
            list(found[:30])
            facets(actor, filters)
        assert len(queries) <= 11
