"""What goes well with chosen adapters: near, of one base, no near-copy, and never what the asker may not read."""

from pathlib import Path

import numpy as np
import pytest

from adapters.models import Embedding, Kinship, Lineage, Relation
from hub.accounts.actor import Actor, actor_for
from hub.repos.models import Repo
from merges.work.suggesting import partners
from tests.make_adapters import lora_tensors, write_adapter
from tests.people import People, make_people
from tests.publishing import publish


@pytest.fixture
def people(db: None) -> People:
    return make_people()


def vector(angle: float, axis: int) -> np.ndarray:
    """A unit vector at so many degrees from the first axis, towards one of the others."""
    values = np.zeros(64)
    values[0], values[1 + axis] = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return values


@pytest.fixture
def near(people: People, tmp_path: Path) -> dict[str, Repo]:
    """Alice's adapters: `chosen`, a copy of it, one near, one nearer in texts only, one unlike, and Bob's own secret."""
    made = {}
    angles = {
        "chosen": (0, 0),
        "copied": (5, 90),
        "near": (70, 90),
        "alike": (90, 40),
        "unlike": (90, 90),
        "mine": (60, 0),
    }
    for seed, (name, (update, texts)) in enumerate(angles.items()):
        owner, private = (people.bob, True) if name == "mine" else (people.alice, False)
        folder = write_adapter(tmp_path / name, tensors=lora_tensors(seed=seed))
        made[name] = publish(owner, name, folder, private=private)
        Embedding.objects.filter(repo=made[name]).delete()
        for method, angle in (("tuned", update), ("texts", texts)):
            Embedding.objects.create(
                repo=made[name], sha=made[name].head, method=method, version=1, probe="p" * 64, vector=vector(angle, seed),
                origin="weights",
            )  # fmt: skip
    Kinship.objects.all().delete()
    return made


def names(actor: Actor, *chosen: str) -> list[str]:
    return [one.name for one in partners(actor, list(chosen))]


def test_updates_that_point_the_same_way_come_before_like_texts(people: People, near: dict[str, Repo]) -> None:
    found = partners(actor_for(people.alice), ["alice/chosen"])
    assert [(one.name, one.kind) for one in found] == [("alice/near", "behaviour"), ("alice/alike", "texts")]
    assert found[0].score == pytest.approx(np.cos(np.radians(70)), abs=2e-3)
    assert found[0].why == "updates point the same way as chosen's (0.34)"
    assert names(actor_for(people.alice), "alice/chosen", "alice/near") == ["alice/alike"]
    assert names(actor_for(people.alice), "no/such", "broken") == []
    for child, parent in (("near", "chosen"), ("chosen", "near")):
        made = Lineage.objects.create(
            child=near[child], child_sha=near[child].head, parent=near[parent], parent_sha=near[parent].head,
            relation=Relation.MERGE_OF,
        )  # fmt: skip
        assert names(actor_for(people.alice), "alice/chosen") == ["alice/alike"]
        made.delete()


def test_nobody_hears_of_what_they_may_not_read(people: People, near: dict[str, Repo]) -> None:
    assert names(actor_for(people.bob), "alice/chosen")[0] == "bob/mine"
    for other in (people.alice, people.charlie):
        assert "bob/mine" not in names(actor_for(other), "alice/chosen")
    assert names(actor_for(people.charlie), "bob/mine") == []
