"""What the hub lists of a repo: a few headline facts, and tags derived from card (claims) and files (measured)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

HEADLINE = (
    "peft_type", "method", "task_type", "base", "base_sha", "rank", "trained_parameters", "base_parameters",
    "share_of_base", "dtypes", "parameters", "target_modules", "bytes", "model_type", "labels", "base_model",
)  # fmt: skip


DATASET_FIELDS = (
    "task_categories", "task_ids", "size_categories", "multilinguality", "language_creators", "annotations_creators",
    "benchmark",
)  # fmt: skip
"""Fields of a dataset's card that the ecosystem filters by, as `field:value`."""


def headline(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts worth a line in a list; the whole is in the Inspection."""
    short = {name: facts[name] for name in HEADLINE if facts.get(name) is not None}
    if facts.get("splits"):
        short["rows"] = {name: split.get("rows") for name, split in facts["splits"].items()}
    return short


def tags(card: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """Tags as the ecosystem writes them: `base_model:adapter:x`, `license:x`, `dataset:x`, languages, methods."""
    return sorted({tag[:200] for tag in _tags(card, facts) if tag})


def _tags(card: dict[str, Any], facts: dict[str, Any]) -> Iterator[str]:
    yield from _listed(card.get("tags"))
    yield from _listed(card.get("language"))
    yield from (f"license:{value}" for value in _listed(card.get("license")))
    named = [*_listed(card.get("datasets")), *(name for name in _listed(card.get("task")) if "/" in name)]
    yield from (f"dataset:{value}" for value in named)
    yield from _listed(card.get("pipeline_tag"))
    yield from _listed(card.get("type"))
    yield from _listed(card.get("library_name"))
    for key in DATASET_FIELDS:
        yield from (f"{key}:{value}" for value in _listed(card.get(key)))
    if facts.get("tensors"):
        yield "safetensors"
    if facts.get("peft_type"):
        yield "peft"
        yield str(facts.get("method", facts["peft_type"])).lower()
    bases = (
        [facts["base"]] if facts.get("base") else _listed(card.get("base_model")) or _listed(facts.get("base_model"))
    )
    relation = card.get("base_model_relation") or ("adapter" if facts.get("peft_type") else "finetune")
    for base in bases:
        yield f"base_model:{base}"
        yield f"base_model:{relation}:{base}"


def _listed(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(item) for item in value if isinstance(item, str | int)] if isinstance(value, list) else []
