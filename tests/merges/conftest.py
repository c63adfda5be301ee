"""A small lab: a tiny base, two tasks, and a specialist for each."""

import json
from pathlib import Path

import pytest

from hub.repos.models import Kind, Repo
from merges.training.settings import Settings
from merges.training.teach import teach
from tests.people import People, make_people
from tests.publishing import publish
from tests.pure.tiny_models import opinions, write_causal, write_encoder

TASK_CARD = "---\ntype: text-classification\nlabels: [no, yes]\nmetric: accuracy\nlicense: mit\nlanguage: en\n---\n"
ADAPTER_CARD = "---\nbase_model: acme/tiny\nlicense: mit\ndatasets: [acme/{task}]\nlanguage: en\n---\n"


def write_task(folder: Path) -> Path:
    folder.mkdir()
    (folder / "README.md").write_text(TASK_CARD)
    for split, rows in (("train", opinions(48)), ("test", opinions(24, start=48))):
        lines = [json.dumps({"text": row.text, "label": row.label}) for row in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def lab(people: People, tmp_path: Path) -> dict[str, Repo]:
    """A tiny base, two tasks, and a specialist of Bob's for each."""
    base = write_encoder(tmp_path / "tiny")
    repos = {"base": publish(people.acme, "tiny", base, by=people.alice)}
    for number, task in enumerate(("moods", "tastes")):
        repos[task] = publish(people.acme, task, write_task(tmp_path / task), by=people.alice, kind=Kind.TASK)
        folder = tmp_path / f"adapter-{task}"
        teach(base, opinions(48), Settings(epochs=4, seed=number), folder, base_name="acme/tiny")
        (folder / "README.md").write_text(ADAPTER_CARD.format(task=task))
        repos[f"adapter-{task}"] = publish(people.bob, f"adapter-{task}", folder)
    return repos


@pytest.fixture
def people(db: None) -> People:
    return make_people()


@pytest.fixture
def writers(people: People, tmp_path: Path) -> dict[str, Repo]:
    """A tiny language model, two tasks, and a specialist of Bob's for each; nothing has a head."""
    base = write_causal(tmp_path / "tiny")
    repos = {"base": publish(people.acme, "tiny", base, by=people.alice)}
    for number, task in enumerate(("moods", "tastes")):
        repos[task] = publish(people.acme, task, write_task(tmp_path / task), by=people.alice, kind=Kind.TASK)
        folder, settings = tmp_path / f"adapter-{task}", Settings(method="lora", epochs=2, seed=number, max_length=32)
        teach(base, opinions(24), settings, folder, base_name="acme/tiny")
        (folder / "README.md").write_text(ADAPTER_CARD.format(task=task))
        repos[f"adapter-{task}"] = publish(people.bob, f"adapter-{task}", folder)
    return repos
