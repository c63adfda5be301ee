"""An inference worker inside the test's process, on the test's own database connection, and specialists to ask."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from django.db import connections

from adapters.answering import line, shelf
from adapters.answering.handlers import make_worker
from adapters.answering.worker import Worker
from adapters.runtime.examples import Example
from hub.accounts.actor import actor_for
from hub.accounts.models import Account
from hub.repos.changes import Inline, Put
from hub.repos.commits import commit
from hub.repos.models import Commit, Kind, Repo
from merges.systems import releases
from merges.systems.manifest import NAME, Member, Pin
from merges.training.settings import Settings
from merges.training.teach import teach
from tests.people import People
from tests.publishing import do_jobs, publish
from tests.pure.tiny_models import opinions, write_causal, write_encoder

QUICK = Settings(rank=4, epochs=3, batch_size=16, learning_rate=1e-2, max_length=24, patience=0)


@contextmanager
def answering() -> Iterator[Worker]:
    """A real worker that takes asks from the real broker, one thread for both lines."""
    shelf.REFRESH_SECONDS = 0.0
    worker = make_worker()
    ours = connections["default"]
    ours.inc_thread_sharing()
    line.broker().delete(*(line.ASKS.format(name) for name in ("quick", "slow")))
    line.broker().set(line.ABOUT, json.dumps(worker.about))

    def serve() -> None:
        connections["default"] = ours
        while not worker.stopping.is_set():
            line.broker().set(line.ALIVE, 1, ex=30)
            got = line.broker().brpop([line.ASKS.format(name) for name in ("quick", "slow")], timeout=1)
            if got is not None:
                worker.do(json.loads(got[1]))

    line.broker().set(line.ALIVE, 1, ex=30)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        worker.stopping.set()
        thread.join(timeout=10)
        ours.dec_thread_sharing()
        line.broker().delete(line.ALIVE)


def animals(count: int) -> list[Example]:
    """Examples of another question about other texts."""
    return [
        Example(f"red green blue warm cold {'dog' if n % 2 else 'cat'} : {n % 7}", "dog" if n % 2 else "cat")
        for n in range(count)
    ]


def specialist(
    owner: Account, name: str, rows: list[Example], base: Path, folder: Path, base_name: str, *, private: bool = False
) -> Repo:
    """An adapter taught on the spot and published with its example inputs."""
    teach(base, rows, QUICK, folder, base_name=base_name)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A specialist\n")
    lines = [json.dumps({"text": row.text, "label": row.label}) for row in rows[:24]]
    (folder / "examples.jsonl").write_text("\n".join(lines) + "\n")
    return publish(owner, name, folder, private=private)


def make_specialists(people: People, folder: Path) -> None:
    """Over acme/tiny: alice/mood, alice/animals, alice/secret-mood (private); over acme/talker: alice/talk,
    which chooses labels, and alice/write, which writes texts."""
    base = write_encoder(folder / "base")
    publish(people.acme, "tiny", base, by=people.alice)
    specialist(people.alice, "mood", opinions(48), base, folder / "mood", "acme/tiny")
    specialist(people.alice, "animals", animals(48), base, folder / "animals", "acme/tiny")
    specialist(people.alice, "secret-mood", opinions(48), base, folder / "secret", "acme/tiny", private=True)
    talker = write_causal(folder / "talker")
    publish(people.acme, "talker", talker, by=people.alice)
    teach(talker, opinions(16), QUICK, folder / "talk", base_name="acme/talker")
    publish(people.alice, "talk", folder / "talk")
    shutil.copytree(folder / "talk", folder / "write")
    (folder / "write" / "labels.json").unlink()  # so it writes texts, instead of choosing a label
    publish(people.alice, "write", folder / "write")


def make_system(people: People, folder: Path) -> Repo:
    """acme/desk, released: alice/mood for acme/moods and alice/animals for acme/zoo, each at its commit."""
    tasks = {"moods": opinions(64), "zoo": animals(64)}
    members = []
    for (name, rows), adapter in zip(tasks.items(), ("mood", "animals"), strict=True):
        place = folder / name
        place.mkdir()
        labels = sorted({row.label for row in rows})
        (place / "README.md").write_text(f"---\ntype: text-classification\nlabels: {labels}\nlicense: mit\n---\n")
        for split, part in (("train", rows[:48]), ("test", rows[48:])):
            lines = [json.dumps({"text": row.text, "label": row.label}) for row in part]
            (place / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        task = publish(people.acme, name, place, by=people.alice, kind=Kind.TASK)
        repo = Repo.objects.get(owner=people.alice, name=adapter)
        members.append(Member(Pin(repo.full_name, repo.head), Pin(task.full_name, task.head)))
    actor = actor_for(people.alice)
    system = releases.create_system(actor=actor, owner=people.acme, name="desk", base="acme/tiny", router="sharpened")
    begun = releases.manifest_at(system, Commit.objects.get(repo=system, sha=system.head))
    manifest = replace(begun, members=tuple(members))
    commit(actor=actor, repo=system, changes_=[Put(NAME, Inline(manifest.to_bytes()))], message="Take both")
    do_jobs()
    return Repo.objects.get(pk=system.pk)
