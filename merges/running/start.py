"""The one way in: an adapter or a whole checkpoint, by what the recipe asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from merges.recipes import Problem, Recipe, RecipeError
from merges.running.adapters import LocalAdapter
from merges.running.checkpoints import merge_checkpoints
from merges.running.merging import merge_adapters
from merges.running.report import MergeReport, Progress


def run(
    recipe: Recipe,
    inputs: Sequence[LocalAdapter],
    output: Path,
    progress: Progress,
    *,
    base: LocalAdapter | None = None,
    scratch: Path | None = None,
    written: Recipe | None = None,
) -> MergeReport:
    """Merge `inputs` (in the order of the recipe's inputs) by `recipe` into the new folder `output`.

    `base` are the base's files, needed for a checkpoint. `progress(done, total, text)` may raise to stop; nothing is
    written then. What is done is kept in `scratch`, where given, and used again after the process was killed. Equal
    recipes and inputs give equal bytes. The result's files hold `written`, where given, instead of the recipe: the same
    with other names (an input's is its `alias`). Raises RecipeError (everything wrong with the inputs, in sentences),
    Cancelled, FileExistsError.
    """
    if not recipe.whole:
        return merge_adapters(recipe, inputs, output, progress, scratch, written or recipe)
    if base is None:
        raise RecipeError([Problem("base", "error", "A checkpoint needs the base it is made from. Name it as base.")])
    return merge_checkpoints(recipe, inputs, base, output, progress, scratch, written or recipe)
