"""One text and one fingerprint for recipes that mean the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

import yaml

from merges.recipes.schema import Recipe


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The canonical form: every default written out, nothing that is None, keys in a fixed order."""
    result: dict[str, Any] = {"merge_method": recipe.method}
    if recipe.base is not None:
        result["base"] = _given(model=recipe.base.model, revision=recipe.base.revision)
    result["inputs"] = [
        {"model" if entry.whole else "adapter": entry.adapter}
        | _given(revision=entry.revision, sha256=entry.sha256, weight=entry.weight)
        | dict(sorted(entry.parameters.items()))
        for entry in recipe.inputs
    ]
    names = [parameter.name for parameter in recipe.declared.parameters]
    result["parameters"] = {name: recipe.parameters[name] for name in names}
    if recipe.space != "dense":
        result["space"] = recipe.space
    if recipe.select is not None:
        select = recipe.select
        grid = {name: list(values) for name, values in sorted(select.grid.items())}
        result["select"] = _given(
            tasks=list(select.tasks), split=select.split, examples=select.examples, grid=grid or None
        )
    result["output"] = _given(**asdict(recipe.output))
    return result


def to_yaml(recipe: Recipe) -> str:
    """The canonical form as YAML; `parse` of it gives the same recipe."""
    return yaml.safe_dump(to_dict(recipe), sort_keys=False, allow_unicode=True, default_flow_style=False)


def fingerprint(recipe: Recipe) -> str:
    """sha256 (hexadecimal) of the canonical form: equal for recipes that must give equal bytes from equal inputs."""
    text = json.dumps(to_dict(recipe), sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
