"""The run itself: check, survey, merge layer by layer, then write everything at once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from merges.methods import Layer, Source
from merges.methods.deltas import Delta, Dense, LowRank, dense, norm, zero
from merges.recipes import Problem, Recipe, RecipeError, lint, to_yaml
from merges.running.adapters import CONFIG, LABELS, WEIGHTS, Adapter, LocalAdapter, Site, read_adapter
from merges.running.geometry import Conflict, conflict, cosines, products
from merges.running.heads import kept_heads, labels_json, mean_head
from merges.running.reducing import distance, factored, stacked
from merges.running.report import Cancelled, LayerReport, MergeReport, Progress, as_json, manifest, totals
from merges.running.writing import (
    PREFIX,
    Stored,
    count,
    ia3_config,
    lora_config,
    rounded,
    safetensors,
    stored,
    write_folder,
)

RECIPE, REPORT = "recipe.yaml", "merge_report.json"


def run(recipe: Recipe, inputs: Sequence[LocalAdapter], output: Path, progress: Progress) -> MergeReport:
    """Merge `inputs` (in the order of the recipe's inputs) by `recipe` into the new folder `output`.

    `progress(done, total, text)` is called before every layer; if it raises, the merge stops with Cancelled and nothing
    is written. Equal recipes and inputs give equal bytes. Raises RecipeError (everything wrong with the inputs, in
    sentences), Cancelled, FileExistsError.
    """
    started = time.perf_counter()
    # One thread: the same sums in the same order, and no quarrel over cores.
    with threadpool_limits(limits=1), ExitStack() as open_files:
        adapters, warnings = _checked(recipe, inputs, open_files)
        work = _Work(recipe, adapters)
        surveyed = recipe.declared.survey(work.layers, recipe.parameters) if recipe.declared.survey else {}
        for done, site in enumerate(work.sites):
            _tell(progress, done, len(work.sites), site.name)
            work.merge(site, surveyed.get(site.name, ()))
        _tell(progress, len(work.sites), len(work.sites), "writing")
        return _written(work, output, warnings, started)


def _checked(
    recipe: Recipe, inputs: Sequence[LocalAdapter], open_files: ExitStack
) -> tuple[list[Adapter], tuple[Problem, ...]]:
    """The inputs, read and found fit to be merged, and what the linter warns of."""
    wanted, given = [entry.adapter for entry in recipe.inputs], [local.name for local in inputs]
    if wanted != given:
        message = f"The recipe names {', '.join(wanted)} but {', '.join(given) or 'nothing'} was given."
        raise RecipeError([Problem("inputs", "error", message)])
    adapters = [read_adapter(local, f"inputs[{position}]", open_files) for position, local in enumerate(inputs)]
    problems = lint(recipe, [adapter.facts for adapter in adapters])
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise RecipeError(errors)
    return adapters, tuple(problem for problem in problems if problem.severity == "warning")


@dataclass
class _Work:
    """A merge under way: what has been merged so far, held until all of it is there."""

    recipe: Recipe
    adapters: list[Adapter]
    tensors: dict[str, Stored] = field(default_factory=dict)
    ranks: dict[Site, int] = field(default_factory=dict)
    vectors: dict[Site, tuple[int, ...]] = field(default_factory=dict)
    reports: list[LayerReport] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    products: Any = 0.0

    def __post_init__(self) -> None:
        self.sites = sorted(frozenset[Site]().union(*(adapter.sites for adapter in self.adapters)))

    def layers(self) -> Iterator[Layer]:
        """Every layer in order, read anew at each call."""
        return (self.layer(site) for site in self.sites)

    def layer(self, site: Site, keep: Sequence[int | None] = ()) -> Layer:
        """What all inputs bring to one place; those that do not change it bring zero."""
        shape = next(adapter.shape(site) for adapter in self.adapters if site in adapter.sites)
        counts = keep or [None] * len(self.adapters)
        sources = [
            Source(
                delta=adapter.delta(site) if site in adapter.sites else zero(shape),
                weight=entry.weight,
                identity=adapter.sha256,
                parameters={**self.recipe.parameters, **entry.parameters},
                keep=kept,
            )
            for adapter, entry, kept in zip(self.adapters, self.recipe.inputs, counts, strict=True)
        ]
        return Layer(site.name, shape, tuple(sources))

    def merge(self, site: Site, keep: Sequence[int | None]) -> None:
        """Merge one place, write its tensors into memory, and measure what that lost."""
        layer = self.layer(site, keep)
        merged = self.recipe.declared.run(layer, self.recipe.parameters)
        vector = site.kind in ("ia3", "bias")
        written = self._vector(site, merged) if vector else self._factors(site, merged)
        if isinstance(written, LowRank):
            self.ranks[site] = written.rank
        length, opposed = norm(merged), conflict(layer)
        self.products = self.products + products(layer)
        self.conflicts.append(opposed)
        self.reports.append(
            LayerReport(
                name=site.name,
                kind=site.kind,
                shape=layer.shape,
                ranks_in=tuple(adapter.rank(site) if site in adapter.sites else 0 for adapter in self.adapters),
                rank_out=self.ranks.get(site, 0),
                norm=length,
                error=distance(merged, written) / length if length else 0.0,
                sign_conflict=opposed.share,
            )
        )

    def _factors(self, site: Site, merged: Delta) -> LowRank:
        """B and A as they are written, scaling 1."""
        output = self.recipe.output
        if output.form == "stacked" and isinstance(merged, LowRank):
            factors = stacked(merged)
        else:
            ranks = [adapter.rank(site) for adapter in self.adapters if site in adapter.sites]
            factors = factored(merged, sum(ranks) if isinstance(output.rank, str) else output.rank)
        embedding = site.kind == "embedding"
        for values, name in zip((factors.left, factors.right), ("B", "A"), strict=True):
            ending = f"lora_embedding_{name}" if embedding else f"lora_{name}.weight"
            self.tensors[f"{PREFIX}{site.module}.{ending}"] = stored(values, output.dtype)
        return LowRank(rounded(factors.left, output.dtype), rounded(factors.right, output.dtype))

    def _vector(self, site: Site, merged: Delta) -> Dense:
        """An IA3 vector 1 + τ, or a bias τ, in the shape peft stores; returns the update as it was written."""
        dtype = self.recipe.output.dtype
        shape = next(adapter.vector_shape(site) for adapter in self.adapters if site in adapter.sites)
        start = np.float32(1.0 if site.kind == "ia3" else 0.0)
        values = dense(merged) + start
        ending = "ia3_l" if site.kind == "ia3" else "lora_B.bias"
        self.tensors[f"{PREFIX}{site.module}.{ending}"] = stored(values.reshape(shape), dtype)
        if site.kind == "ia3":
            self.vectors[site] = shape
        return Dense(rounded(values, dtype) - start)

    def complete_biases(self) -> bool:
        """peft wants a bias at every LoRA layer or at none: add zeros where no input had one. True if there are any."""
        biased = {site.module for site in self.sites if site.kind == "bias"}
        for site in self.sites if biased else ():
            if site.kind == "linear" and site.module not in biased:
                rows = next(adapter.shape(site)[0] for adapter in self.adapters if site in adapter.sites)
                zeros = stored(np.zeros(rows, np.float32), self.recipe.output.dtype)
                self.tensors[f"{PREFIX}{site.module}.lora_B.bias"] = zeros
        return bool(biased)


def _written(work: _Work, output: Path, warnings: tuple[Problem, ...], started: float) -> MergeReport:
    """All files of the result, and the report."""
    recipe, adapters = work.recipe, work.adapters
    lora_bias = work.complete_biases()
    parameters = count(work.tensors)
    averaged = mean_head(recipe, adapters) if recipe.output.heads == "mean" else {}
    head_modules = sorted({role.module for role in adapters[0].heads}) if averaged else []
    if work.vectors:
        config = ia3_config(recipe, adapters, work.vectors, head_modules)
    else:
        config = lora_config(recipe, adapters, work.ranks, lora_bias, head_modules)
    heads = {} if averaged else kept_heads(adapters)
    files = {CONFIG: as_json(config), WEIGHTS: safetensors(work.tensors | averaged), **heads}
    if averaged and adapters[0].labels is not None:
        files[LABELS] = labels_json(adapters[0].labels)
    summed, matrix = totals(work.reports, work.conflicts, parameters), cosines(work.products)
    files[RECIPE] = to_yaml(recipe).encode()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    told = manifest(recipe, adapters, work.reports, summed, matrix, hashes)
    write_folder(output, {**files, REPORT: as_json(told)})
    return MergeReport(
        manifest=told,
        layers=tuple(work.reports),
        totals=summed,
        cosines=matrix,
        heads=tuple(name for name in heads if name.endswith(".safetensors")),
        warnings=warnings,
        files=(*files, REPORT),
        seconds=time.perf_counter() - started,
    )


def _tell(progress: Progress, done: int, total: int, text: str) -> None:
    try:
        progress(done, total, text)
    except Cancelled:
        raise
    except Exception as error:
        raise Cancelled("The merge was stopped; nothing was written.") from error
