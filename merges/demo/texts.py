"""The demo's tasks: which texts carry which labels, cleaned, balanced and split without overlap."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from adapters.runtime.examples import Example
from merges.demo import sources
from merges.demo.sources import Labelled

SERVICES = ("connect", "ec2", "glue", "iot", "quicksight", "sagemaker")
OTHER_SERVICES = (
    "backup", "cloudformation", "codebuild", "config", "dms", "gamelift", "iotsitewise", "kms", "lightsail",
    "network-firewall", "pinpoint", "quicksight", "redshift", "ssm", "transfer", "wafv2",
)  # fmt: skip
FIELD_SERVICES = (
    "autoscaling",
    "batch",
    "bedrock",
    "cloudfront",
    "dynamodb",
    "eks",
    "fsx",
    "macie2",
    "medialive",
    "sesv2",
)
LIBRARIES = ("celery", "django", "numpy", "torch")
SHARES = (400, 100, 240)


@dataclass(frozen=True)
class DemoTask:
    """A task of the demo before its texts are read."""

    name: str
    title: str
    question: str
    license: str
    languages: tuple[str, ...]
    distributions: tuple[str, ...]
    read: Callable[[], Iterable[Labelled]]
    shortest: int = 20


@dataclass(frozen=True)
class DemoSplits:
    """The texts of one task in its three splits, every label equally frequent in each."""

    labels: tuple[str, ...]
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]


TASKS = (
    DemoTask(
        "cloud-service", "Which cloud service?", "Which of 6 cloud services does an operation description belong to?",
        "apache-2.0", ("en",), ("botocore",), lambda: sources.service_operations(SERVICES),
    ),
    DemoTask(
        "cloud-action", "Read, create, change or delete?", "What does an operation do, going by its description?",
        "apache-2.0", ("en",), ("botocore",), lambda: sources.operation_actions(OTHER_SERVICES),
    ),
    DemoTask(
        "field-kind", "What kind of value?", "What kind of value does a field hold, going by its description?",
        "apache-2.0", ("en",), ("botocore",), lambda: sources.field_kinds(FIELD_SERVICES),
    ),
    DemoTask(
        "message-language", "Which language?", "Which of 6 related languages is a message of a web site written in?",
        "bsd-3-clause", tuple(sources.LANGUAGES), ("Django",), sources.translated_messages, shortest=12,
    ),
    DemoTask(
        "docstring-library", "Which library?", "Which of 4 Python libraries does a docstring come from?",
        "bsd-3-clause", ("en",),
        ("celery", "Django", "numpy", "torch"),
        lambda: sources.docstrings(LIBRARIES, wanted=450),
    ),
)  # fmt: skip


def task_named(name: str) -> DemoTask:
    """The demo task of that name. Raises KeyError."""
    return {task.name: task for task in TASKS}[name]


def normalised(text: str) -> str:
    """What two texts share when they are the same but for case, digits and punctuation."""
    return re.sub(r"[\W\d_]+", " ", text.casefold()).strip()


def splits(task: DemoTask, sizes: tuple[int, int, int] = SHARES) -> DemoSplits:
    """Read, clean and split a task's texts; `sizes` are wished totals of train, validation and test.

    A text under two labels is dropped; the order is by hash, so splits are equal wherever the packages are. Training
    texts come from the front and test texts from the back of that order, in every task: no task's training text is
    another task's test text. If a label has too few texts, all splits shrink alike.
    """
    labels_of: dict[str, set[str]] = defaultdict(set)
    texts: dict[str, Example] = {}
    for text, label in task.read():
        text, key = text.strip(), normalised(text)
        if task.shortest <= len(text) <= 240 and len(key) >= task.shortest // 2:
            labels_of[key].add(label)
            texts.setdefault(key, Example(text, label))
    by_label: dict[str, list[Example]] = defaultdict(list)
    for key in sorted(texts, key=sources.stable_key):
        if len(labels_of[key]) == 1:
            by_label[texts[key].label].append(texts[key])
    labels = tuple(sorted(by_label))
    scarcest = min(len(found) for found in by_label.values())
    share = min(1.0, scarcest * len(labels) / sum(sizes))
    train, validation, test = (int(size * share) // len(labels) for size in sizes)
    parts = []
    for first, last in ((0, train), (train, train + validation), (-test, None)):
        part = [example for label in labels for example in by_label[label][first:last]]
        parts.append(tuple(sorted(part, key=lambda example: sources.stable_key(example.text))))
    return DemoSplits(labels, *parts)


def write_task(task: DemoTask, folder: Path, sizes: tuple[int, int, int] = SHARES) -> DemoSplits:
    """Write train.jsonl, validation.jsonl, test.jsonl and the card README.md of a task repo into `folder`."""
    made = splits(task, sizes)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", made.train), ("validation", made.validation), ("test", made.test)):
        lines = [json.dumps({"text": row.text, "label": row.label}, ensure_ascii=False) for row in part]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(task_card(task, made), encoding="utf-8")
    return made


def task_card(task: DemoTask, made: DemoSplits) -> str:
    """The card of a task: front matter (type, labels, metric, license, language) and where the texts come from."""
    origin = ", ".join(f"{name} {sources.package_version(name)}" for name in task.distributions)
    labels = "\n".join(f"- {json.dumps(label)}" for label in made.labels)
    languages = "\n".join(f"- {json.dumps(code)}" for code in task.languages)
    size = f"{len(made.train)} training, {len(made.validation)} validation and {len(made.test)} test texts"
    return f"""---
type: text-classification
license: {task.license}
language:
{languages}
metric: accuracy
labels:
{labels}
tags:
- demo
---
# {task.title}

{task.question}

{size}; every label is equally frequent in each, and no text stands in two of them (compared without case, digits and
punctuation).

## Where the texts come from

First sentences of real texts that installed packages carry: {origin}. Texts that would carry two labels were left out.
"""
