"""Which specialists the demo teaches, and their cards."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.runtime.progress import Progress, silent
from merges.demo.texts import DemoSplits, task_named
from merges.training.settings import Settings
from merges.training.teach import TrainingResult, teach

LORA = Settings(
    rank=8,
    alpha=16,
    target_modules=("query", "key", "value", "dense"),
    epochs=3,
    learning_rate=1.5e-3,
    max_length=48,
    class_weights="none",
    patience=0,
)
IA3 = Settings(method="ia3", epochs=1, learning_rate=2e-2, max_length=48, class_weights="none", patience=0)


@dataclass(frozen=True)
class Revision:
    """One training of a specialist: its settings and the message of the commit that publishes it."""

    settings: Settings
    message: str


@dataclass(frozen=True)
class Specialist:
    """An adapter repo of the demo; each revision is taught from the base and replaces the one before."""

    name: str
    task: str
    revisions: tuple[Revision, ...]


def _once(settings: Settings) -> tuple[Revision, ...]:
    return (Revision(settings, "Teach the specialist"),)


SPECIALISTS = (
    Specialist(
        "minilm-cloud-service-lora",
        "cloud-service",
        (
            Revision(replace(LORA, epochs=1), "First try: one pass over the examples"),
            Revision(LORA, "Teach longer: three passes over the examples"),
        ),
    ),
    Specialist("minilm-cloud-action-lora", "cloud-action", _once(replace(LORA, epochs=2))),
    Specialist("minilm-field-kind-lora", "field-kind", _once(LORA)),
    Specialist("minilm-message-language-lora", "message-language", _once(replace(LORA, epochs=2))),
    Specialist("minilm-docstring-library-lora", "docstring-library", _once(LORA)),
    Specialist("minilm-cloud-action-ia3", "cloud-action", _once(IA3)),
)


def train_specialist(
    specialist: Specialist,
    revision: Revision,
    base: Path,
    made: DemoSplits,
    output: Path,
    progress: Progress = silent,
    *,
    base_name: str,
    task_name: str,
) -> TrainingResult:
    """Teach one revision and write adapter files and card to `output`; names are owner/name as the hub knows them."""
    result = teach(
        base, made.train, revision.settings, output, progress,
        validation=made.validation, labels=made.labels, base_name=base_name,
    )  # fmt: skip
    card = specialist_card(specialist, revision, result, base_name=base_name, task_name=task_name)
    (output / "README.md").write_text(card, encoding="utf-8")
    return result


def specialist_card(
    specialist: Specialist, revision: Revision, result: TrainingResult, *, base_name: str, task_name: str
) -> str:
    """The card of a specialist: base, licence, task, what was done and the measured validation score."""
    task, settings = task_named(specialist.task), revision.settings
    languages = "\n".join(f"- {json.dumps(code)}" for code in task.languages)
    numbers = f"rank {settings.rank}, alpha {settings.alpha:g}, " if settings.method == "lora" else ""
    method = {"lora": "LoRA", "ia3": "IA3"}[settings.method]
    return f"""---
base_model: {base_name}
base_model_relation: adapter
library_name: peft
license: apache-2.0
pipeline_tag: text-classification
language:
{languages}
datasets:
- {task_name}
metrics:
- accuracy
tags:
- {settings.method}
- demo
---
# {task.title}

{task.question} A specialist for `{base_name}` ({method}), taught on `{task_name}`.

## What was done

{method} ({numbers}learning rate {settings.learning_rate:g}, {result.n} examples, passes: {result.best.epoch}, batch
{settings.batch_size}, at most {settings.max_length} tokens, seed {settings.seed}); the head first, on frozen features.
{result.trainable:,} trained parameters, {result.share:.2%} of the model, in {result.steps} steps.

Validation accuracy {result.best.validation_accuracy:.3f}, loss {result.best.validation_loss:.3f}. The hub evaluates the
specialist on the test split and shows the scores on this repo's page.
"""
