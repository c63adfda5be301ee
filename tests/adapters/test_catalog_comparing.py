"""The job that compares: what a cancelled one has learned is kept, and what was measured is not measured again."""

import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from adapters.catalog import comparing
from adapters.models import Comparison, TensorPair
from hub.jobs.models import Job, State
from hub.jobs.running import Running
from hub.jobs.working import run_job
from hub.repos import trees
from hub.repos.models import Repo
from tests.make_adapters import base_config, base_tensors
from tests.people import People, make_repo, put
from tests.publishing import do_jobs, publish, push


def write(folder: Path, tensors: dict[str, np.ndarray], shards: int = 1) -> Path:
    """A checkpoint in one file or several."""
    folder.mkdir()
    (folder / "config.json").write_text(str(base_config()).replace("'", '"'))
    names = sorted(tensors)
    for number in range(shards):
        part = {name: tensors[name] for name in names[number::shards]}
        save_file(part, folder / f"model-{number + 1:05}-of-{shards:05}.safetensors")
    return folder


@pytest.fixture
def revisions(people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Repo, comparing.Pair]:
    """A checkpoint whose second revision differs in every weight; the comparison has not run yet."""
    tensors = base_tensors()
    repo = publish(people.alice, "net", write(tmp_path / "one", tensors))
    monkeypatch.setattr("adapters.catalog.inspecting.comparing.pairs", lambda *_sides: [])
    push(people.alice, repo, write(tmp_path / "two", {name: array + 1 for name, array in tensors.items()}))
    monkeypatch.undo()
    head = trees.resolve_commit(repo)
    first = trees.resolve_commit(repo, head.parents[0])
    (pair,) = comparing.pairs(people.actor("alice"), repo, first, repo, head)
    return repo, pair


def test_a_cancelled_comparison_keeps_what_it_learned(
    people: People, revisions: tuple[Repo, comparing.Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    _repo, pair = revisions
    job = comparing.queue(pair, people.actor("alice"))
    steps = iter(range(100))
    progress = Running.progress

    def slowly(running: Running, done: int, total: int, note: str = "") -> None:
        if next(steps) == 5:
            Job.objects.filter(pk=job.pk).update(cancel_requested=True)
        running._last_written = -10.0
        progress(running, done, total, note)

    monkeypatch.setattr(Running, "progress", slowly)
    run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == State.CANCELLED
    assert not Comparison.objects.exists()
    learned = set(TensorPair.objects.values_list("old", "new"))
    assert 0 < len(learned) < len(base_tensors())
    monkeypatch.undo()
    TensorPair.objects.update(numbers={"status": "changed", "max_abs": 42.0})
    comparing.again(people.actor("alice"), pair)
    do_jobs()
    changes = Comparison.objects.get().changes
    assert {(row["old_key"], row["new_key"]) for row in changes if row.get("max_abs") == 42.0} == learned
    assert len(changes) == len(base_tensors())


def test_other_shards_hold_the_same_tensors(people: People, tmp_path: Path) -> None:
    tensors = base_tensors()
    repo = publish(people.alice, "net", write(tmp_path / "one", tensors))
    other = publish(people.bob, "sharded", write(tmp_path / "many", tensors, shards=3))
    (pair,) = comparing.pairs(
        people.actor("alice"), repo, trees.resolve_commit(repo), other, trees.resolve_commit(other)
    )
    comparing.queue(pair, people.actor("alice"))
    do_jobs()
    assert Comparison.objects.get().summary == f"All {len(tensors)} tensors are the same, byte for byte."


def test_texts_of_repeated_lines_are_named_only(people: People) -> None:
    """All files of a comparison share its work: it must not be possible to keep the hub busy with it."""
    rng = random.Random(1)
    repo = make_repo(people.alice, "texts")
    sides = [
        {f"{n}.txt": "".join(f"{rng.randrange(132)}\n" for _ in range(40_000)).encode() for n in range(3)}
        | {"small.txt": word}
        for word in (b"a\n", b"b\n")
    ]
    before, after = (trees.resolve_commit(repo, put(people.alice, repo, side).sha) for side in sides)
    changes = comparing.compare_files(repo, before, repo, after)
    long = "The two differ, too long to show by lines."
    assert [change.text for change in changes] == [[long]] * 3 + [["@@ -1 +1 @@", "-a", "+b"]]
