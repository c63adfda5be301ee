"""Near adapters and tasks: who is nearest, why, and never what one may not know."""

from pathlib import Path

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from adapters.catalog import mapping
from adapters.search.filters import Filters
from adapters.search.relatives import relatives
from hub.jobs.models import Job
from hub.repos.models import Kind, Repo
from tests.adapters.test_placing import write_task
from tests.make_adapters import lora_tensors, write_adapter, write_base
from tests.people import People
from tests.publishing import publish


@pytest.fixture
def placed(people: People, tmp_path: Path) -> People:
    """Alice's tasks about films and food, a private one of hers about films; adapters, one of them copied."""
    for name, words, private in (
        ("films", "The actors in this film were", False), ("secret-films", "The plot of this film was", True),
        ("food", "Cook the rice with garlic until", False), ("bank", "My card payment was declined and", False),
    ):  # fmt: skip
        publish(people.alice, name, write_task(tmp_path / name, words), kind=Kind.TASK, private=private)
    publish(people.acme, "tiny-bert", write_base(tmp_path / "base"), by=people.alice)
    for name, seed, private in (("one", 1, False), ("other", 2, False), ("copy", 1, False), ("secret-copy", 1, True)):
        publish(people.alice, name, write_adapter(tmp_path / name, tensors=lora_tensors(seed=seed)), private=private)
    return people


def names(actor_name: str | None, people: People, repo: str, kind: str, query: str = "") -> list[str]:
    asked = Repo.objects.get(name=repo)
    filters = Filters.from_query(QueryDict(query))
    return [near.repo.name for near in relatives(people.actor(actor_name), asked, kind, filters)]


def test_near_ones_and_why(placed: People) -> None:
    similar_texts_with_evidence(placed)
    strangers_meet_no_private_neighbour(placed)
    copies_are_told_from_relatives(placed)
    the_question_is_told_by_its_labels(placed)
    filters_and_unplaced_repos(placed)


def similar_texts_with_evidence(placed: People) -> None:
    found = relatives(placed.actor("alice"), Repo.objects.get(name="films"), "texts")
    assert next(near.repo.name for near in found) == "secret-films"
    assert found[0].score > found[1].score
    pair = found[0].evidence[0]
    assert "film" in pair.one and "film" in pair.other and 0.5 < pair.cosine <= 1.0


def strangers_meet_no_private_neighbour(placed: People) -> None:
    for who in (None, "bob", "charlie", "mary"):
        for repo, kind in (("films", "texts"), ("films", "question"), ("one", "copies"), ("one", "behaviour")):
            assert not any("secret" in name for name in names(who, placed, repo, kind)), (who, kind)
    assert "secret-copy" in names("alice", placed, "one", "copies")


def copies_are_told_from_relatives(placed: People) -> None:
    assert names("bob", placed, "one", "copies") == ["copy"]
    assert names("bob", placed, "one", "behaviour") == ["other"]
    near = relatives(placed.actor("bob"), Repo.objects.get(name="one"), "copies")[0]
    assert near.exact and near.score == pytest.approx(1, abs=1e-5) and near.evidence[0].other == ""


def the_question_is_told_by_its_labels(placed: People) -> None:
    found = relatives(placed.actor("bob"), Repo.objects.get(name="films"), "question")
    assert {near.repo.name for near in found} == {"food", "bank"}
    assert {(pair.one, pair.other) for pair in found[0].evidence} <= {("good", "good"), ("bad", "bad")}


def filters_and_unplaced_repos(placed: People) -> None:
    assert names("bob", placed, "films", "texts", "license=apache-2.0&kind=task") != []
    assert names("bob", placed, "films", "texts", "license=no-such-licence") == []
    assert names("bob", placed, "tiny-bert", "texts") == []


def test_vectors_made_from_a_private_task_stay_private(people: People, tmp_path: Path) -> None:
    card = "---\nlicense: mit\ndatasets:\n- alice/secret-task\n---\n# Adapter\n"
    publish(people.alice, "secret-task", write_task(tmp_path / "t", "A film that"), kind=Kind.TASK, private=True)
    publish(people.alice, "open-task", write_task(tmp_path / "o", "A film which"), kind=Kind.TASK)
    folder = write_adapter(tmp_path / "a")
    (folder / "README.md").write_text(card)
    publish(people.alice, "open-adapter", folder)
    assert "open-adapter" in names("alice", people, "open-task", "texts")
    assert names("bob", people, "open-task", "texts") == []


def test_the_map_shows_what_one_may_see(people: People, tmp_path: Path) -> None:
    from adapters.models import MapPoint
    from adapters.search.map import points

    for name, words, private in (
        ("films", "The actors in this film", False), ("food", "Cook rice", False), ("secret-films", "The plot", True),
    ):  # fmt: skip
        publish(people.alice, name, write_task(tmp_path / name, words), kind=Kind.TASK, private=private)
    seen = {point.repo.name for point in points(people.actor("charlie"))}
    assert seen == {"films", "food"}
    assert {point.repo.name for point in points(people.actor("alice"))} == {"films", "food", "secret-films"}
    assert not MapPoint.objects.get(repo__name="secret-films").fitted
    before = dict(MapPoint.objects.filter(fitted=True).values_list("repo__name", "x"))
    publish(people.alice, "secret-more", write_task(tmp_path / "more", "Another plot"), kind=Kind.TASK, private=True)
    assert before == dict(MapPoint.objects.filter(fitted=True).values_list("repo__name", "x"))
    with CaptureQueriesContext(connection) as asked:
        mapping.lay_in(Repo.objects.get(name="secret-more"))
    assert len(asked) <= 9 and any("LIMIT 5" in query["sql"] for query in asked), (
        "its few nearest, not all that is drawn"
    )


def test_a_vector_of_another_width_stops_nobody(people: People, tmp_path: Path) -> None:
    from adapters.models import Embedding, MapPoint

    publish(people.alice, "odd", write_task(tmp_path / "odd", "The actors"), kind=Kind.TASK)
    Embedding.objects.filter(repo__name="odd", method="texts").update(vector=[1.0] * 10)
    MapPoint.objects.filter(repo__name="odd").update(fitted=True)
    for name, words in (("films", "The actors in this film"), ("food", "Cook rice"), ("bank", "My card")):
        publish(people.alice, name, write_task(tmp_path / name, words), kind=Kind.TASK)
    assert not Job.objects.exclude(state="succeeded").exists()
    drawn = set(MapPoint.objects.filter(fitted=True).values_list("repo__name", flat=True))
    assert drawn == {"films", "food", "bank"}, "drawn anew without the one that has no distance to them"


def test_gated_repos_shape_and_show_nothing_to_those_not_let_in(people: People, tmp_path: Path) -> None:
    from adapters.models import MapPoint
    from adapters.search.map import points

    for name, words in (("films", "The actors in this film"), ("secret-gated", "The plot of this film")):
        publish(people.alice, name, write_task(tmp_path / name, words), kind=Kind.TASK)
    Repo.objects.filter(name="secret-gated").update(gated="manual")
    publish(people.alice, "food", write_task(tmp_path / "food", "Cook rice"), kind=Kind.TASK)
    assert names("charlie", people, "films", "texts") == ["food"]
    assert "secret-gated" in names("alice", people, "films", "texts")
    assert "secret-gated" not in {point.repo.name for point in points(people.actor("charlie"))}
    assert not MapPoint.objects.get(repo__name="secret-gated").fitted
