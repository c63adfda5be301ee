"""Recipes: which adapters to merge, with what weights, by which method, into what.

YAML, JSON-like dictionaries and stored facts about the inputs come in; a checked `Recipe` with every default filled,
problems in sentences, canonical YAML and a fingerprint leave. No adapter file is opened here.
"""

from __future__ import annotations

from merges.recipes.canonical import fingerprint, to_dict, to_yaml
from merges.recipes.linting import lint
from merges.recipes.parsing import parse
from merges.recipes.schema import Base, Input, Output, Problem, Recipe, RecipeError

__all__ = [
    "Base", "Input", "Output", "Problem", "Recipe", "RecipeError",
    "fingerprint", "lint", "parse", "to_dict", "to_yaml",
]  # fmt: skip
