"""The run itself: check, survey, merge layer by layer, share out the ranks, then write everything at once."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from merges.methods import Layer, Source
from merges.methods.deltas import Array, Delta, Dense, LowRank, dense, fits_float32, held, norm, zero
from merges.methods.spaces import project
from merges.recipes import Problem, Recipe, RecipeError, lint, to_yaml
from merges.running import allocation
from merges.running.adapters import CONFIG, LABELS, WEIGHTS, Adapter, LocalAdapter, Site, read_adapter
from merges.running.geometry import Conflict, conflict, cosines, products
from merges.running.heads import kept_heads, labels_json, mean_head
from merges.running.pieces import Pieces
from merges.running.pool import in_order, threads_for
from merges.running.reducing import Reduced, already_minimal, distance, reduced, rounding, stacked
from merges.running.report import LayerReport, MergeReport, Progress, as_json, manifest, tell, totals
from merges.running.soft import routing_files
from merges.running.writing import (
    PREFIX,
    STORED,
    OutputFolder,
    Planned,
    ia3_config,
    lora_config,
    rounded,
    stored,
    too_large,
)

RECIPE, REPORT = "recipe.yaml", "merge_report.json"


def merge_adapters(
    recipe: Recipe,
    inputs: Sequence[LocalAdapter],
    output: Path,
    progress: Progress,
    scratch: Path | None,
    written: Recipe,
) -> MergeReport:
    """Merge adapters (in the order of the recipe's inputs) by `recipe` into one adapter in the new folder `output`.

    `progress(done, total, text)` is called before every layer; if it raises, the merge stops with Cancelled and nothing
    is written. What is merged is kept in `scratch`, where given, so that the same run goes on there after it was
    killed. `written` is the recipe as the result's files hold it. Equal recipes and inputs give equal bytes.
    Raises RecipeError, Cancelled, FileExistsError.
    """
    started = time.perf_counter()
    # One thread: the same sums in the same order, and no quarrel over cores.
    with threadpool_limits(limits=1), ExitStack() as open_files:
        adapters, warnings = checked(recipe, inputs, open_files)
        work = _Work(recipe, adapters, Pieces(scratch))
        surveyed = recipe.declared.survey(work.layers, recipe.parameters) if recipe.declared.survey else {}

        def one(number: int) -> None:
            if number not in work.pieces:
                work.merge(number, work.sites[number], surveyed.get(work.sites[number].name, ()))

        merging = in_order(range(len(work.sites)), one, threads_for(work.values))
        for done, site in enumerate(work.sites):
            tell(progress, done, len(work.sites), site.name)
            next(merging)
        tell(progress, len(work.sites), len(work.sites), "writing")
        work.share_out_ranks()
        return _written(work, written, output, warnings, started)


def checked(
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
    """A merge under way: what has been merged so far, held in pieces until all of it is there."""

    recipe: Recipe
    adapters: list[Adapter]
    pieces: Pieces
    ranks: dict[Site, int] = field(default_factory=dict)
    reports: list[LayerReport] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    products: Any = 0.0

    def __post_init__(self) -> None:
        self.sites = sorted(frozenset[Site]().union(*(adapter.sites for adapter in self.adapters)))

    @property
    def values(self) -> int:
        """How many entries of ΔW are looked at, over all inputs; of factored methods those of the factors."""
        pairs = [(adapter, site) for adapter in self.adapters for site in adapter.sites]
        if self.recipe.declared.exact_on_lora or self.recipe.space != "dense":
            return sum(sum(adapter.shape(site)) * max(1, adapter.rank(site)) for adapter, site in pairs)
        return sum(math.prod(adapter.shape(site)) for adapter, site in pairs)

    def layers(self) -> Iterator[Layer]:
        """Every layer in order, read anew at each call, in the recipe's space."""
        return (project(self.layer(site), self.recipe.space)[0] for site in self.sites)

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
                statistics=adapter.statistics(site, shape, self.recipe.declared.needs),
            )
            for adapter, entry, kept in zip(self.adapters, self.recipe.inputs, counts, strict=True)
        ]
        return Layer(site.name, shape, tuple(sources))

    def merge(self, number: int, site: Site, keep: Sequence[int | None]) -> None:
        """Merge one place, keep it as a piece, and measure what writing it so loses.

        Raises RecipeError for a result that is not finite in the output's type.
        """
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                facts, arrays = self._merged(site, keep)
        except np.linalg.LinAlgError:
            message = f"{site.name} cannot be decomposed: its values are too large, or too far apart in size."
            raise RecipeError([Problem("inputs", "error", message)]) from None
        self.pieces.put(number, facts, arrays)

    def _merged(self, site: Site, keep: Sequence[int | None]) -> tuple[dict[str, Any], dict[str, Array]]:
        """What the piece of one place says and holds."""
        layer = self.layer(site, keep)
        projected, back = project(layer, self.recipe.space)
        try:
            merged = held(back(self.recipe.declared.run(projected, self.recipe.parameters)))
        except np.linalg.LinAlgError:
            sentence = f"{self.recipe.declared.title} has no solution for {site.name} with these inputs and weights."
            raise RecipeError([Problem("inputs", "error", sentence)]) from None
        if not fits_float32(merged):
            raise RecipeError([Problem("inputs", "error", too_large(site.name, "float32"))])
        if site.kind in ("ia3", "bias"):
            values = dense(merged)
            arrays, length = {"values": values}, norm(merged)
            lost = distance(merged, Dense(self._rounded_vector(site, values)))
        else:
            made = self._factors(site, merged)
            arrays, length = {"left": made.factors.left, "right": made.factors.right}, made.norm
            lost = made.lost
            if self.recipe.output.dtype != "float32":
                written = LowRank(*(rounded(part, self.recipe.output.dtype) for part in arrays.values()))
                lost = float(np.hypot(lost, rounding(made.factors, written)))
        opposed = conflict(layer)
        if not np.isfinite([length, lost, opposed.mass, opposed.left]).all():
            raise RecipeError([Problem("output.dtype", "error", too_large(site.name, self.recipe.output.dtype))])
        report = LayerReport(
            name=site.name,
            kind=site.kind,
            shape=layer.shape,
            ranks_in=tuple(adapter.rank(site) if site in adapter.sites else 0 for adapter in self.adapters),
            rank_out=len(arrays["right"]) if "right" in arrays else 0,
            norm=length,
            error=lost / length if length else 0.0,
            sign_conflict=opposed.share,
        )
        facts = {"report": asdict(report), "conflict": asdict(opposed), "products": products(layer).tolist()}
        return facts, arrays

    def share_out_ranks(self) -> None:
        """Read the pieces' facts; for a budget over the whole adapter, decide each layer's rank and what that loses.

        Raises RecipeError if the budget is too small for rank 1.
        """
        places = []
        for number, site in enumerate(self.sites):
            facts, arrays = self.pieces.get(number)
            told = facts["report"]
            listed = {name: tuple(told[name]) for name in ("shape", "ranks_in")}
            self.reports.append(LayerReport(**(told | listed)))
            self.conflicts.append(Conflict(**facts["conflict"]))
            self.products = self.products + np.array(facts["products"])
            if "left" in arrays:
                self.ranks[site] = len(arrays["right"])
                places.append(number)
        if self.recipe.output.form in ("energy", "bytes"):
            self._cut(places)

    def _cut(self, places: list[int]) -> None:
        """Give each factored layer its share of the budget, and say what that loses."""
        spectra = [_spectrum(self.pieces.get(number)[1]) for number in places]
        ranks = self._allocated([sum(self.reports[number].shape) for number in places], spectra)
        for number, rank, sigma in zip(places, ranks, spectra, strict=True):
            report = self.reports[number]
            self.ranks[self.sites[number]] = rank
            lost = (report.error * report.norm) ** 2 + float((sigma[rank:] ** 2).sum())
            error = lost**0.5 / report.norm if report.norm else 0.0
            self.reports[number] = replace(report, rank_out=rank, error=error)

    def _allocated(self, costs: list[int], spectra: list[Array]) -> list[int]:
        output = self.recipe.output
        if output.energy is not None:
            return allocation.for_energy(spectra, costs, output.energy)
        assert output.max_bytes is not None
        try:
            return allocation.for_numbers(spectra, costs, output.max_bytes // (4 if output.dtype == "float32" else 2))
        except ValueError as error:
            raise RecipeError([Problem("output.max_bytes", "error", str(error))]) from None

    def planned(self) -> list[Planned]:
        """Every tensor of the result, read from its piece when it is written."""
        result = []
        for number, site in enumerate(self.sites):
            rows, columns = self.reports[number].shape
            if site in self.ranks:
                rank, embedding = self.ranks[site], site.kind == "embedding"
                kernel = next((adapter.kernel(site) for adapter in self.adapters if site in adapter.sites), ())
                shapes = {"B": (rows, rank, *(1 for _ in kernel[1:])), "A": (rank, *(kernel or (columns,)))}
                for name, shape in shapes.items():
                    ending = f"lora_embedding_{name}" if embedding else f"lora_{name}.weight"
                    result.append(self._plan(f"{PREFIX}{site.module}.{ending}", shape, number, name))
            else:
                ending = "ia3_l" if site.kind == "ia3" else "lora_B.bias"
                result.append(self._plan(f"{PREFIX}{site.module}.{ending}", self.vector_shape(site), number, "values"))
        return result + self._missing_biases()

    def _plan(self, name: str, shape: tuple[int, ...], number: int, part: str) -> Planned:
        dtype = self.recipe.output.dtype

        def make() -> Any:
            arrays, site = self.pieces.get(number)[1], self.sites[number]
            rank = self.ranks.get(site)
            if part == "values":
                values = arrays["values"] + _rest(site)
            else:
                values = arrays["left"][:, :rank] if part == "B" else arrays["right"][:rank]
            return stored(values.reshape(shape), dtype)

        return Planned(name, STORED[dtype], shape, make)

    def vector_shape(self, site: Site) -> tuple[int, ...]:
        """The shape in which peft stores a vector."""
        return next(adapter.vector_shape(site) for adapter in self.adapters if site in adapter.sites)

    def _missing_biases(self) -> list[Planned]:
        """peft wants a bias at every LoRA layer or at none: zeros where no input had one."""
        biased = {site.module for site in self.sites if site.kind == "bias"}
        result = []
        for number, site in enumerate(self.sites):
            if biased and site.kind == "linear" and site.module not in biased:
                zeros = stored(np.zeros(self.reports[number].shape[0], np.float32), self.recipe.output.dtype)
                name = f"{PREFIX}{site.module}.lora_B.bias"
                result.append(Planned(name, zeros.dtype, zeros.shape, lambda zeros=zeros: zeros))  # type: ignore[misc]
        return result

    def _factors(self, site: Site, merged: Delta) -> Reduced:
        """B and A before they are rounded, scaling 1."""
        output = self.recipe.output
        if output.form == "stacked" and isinstance(merged, LowRank):
            return Reduced(stacked(merged), norm(merged), 0.0)
        unrounded = output.form == "exact" and output.dtype == "float32"
        kept = already_minimal(merged) if unrounded and isinstance(merged, LowRank) else None
        if kept is not None:
            return kept
        ranks = [adapter.rank(site) for adapter in self.adapters if site in adapter.sites]
        return reduced(merged, sum(ranks) if isinstance(output.rank, str) else output.rank)

    def _rounded_vector(self, site: Site, values: Array) -> Array:
        """The update of a vector as it will be written."""
        result: Array = rounded(values + _rest(site), self.recipe.output.dtype) - _rest(site)
        return result


def _rest(site: Site) -> np.float32:
    """What a vector holds when it changes nothing: ones for IA3, zeros for a bias."""
    return np.float32(1.0 if site.kind == "ia3" else 0.0)


def _spectrum(arrays: dict[str, Array]) -> Array:
    """The singular values of balanced factors: the products of their columns' lengths."""
    left, right = arrays["left"].astype(np.float64), arrays["right"].astype(np.float64)
    lengths: Array = np.linalg.norm(left, axis=0) * np.linalg.norm(right, axis=1)
    return lengths


def _written(work: _Work, written: Recipe, output: Path, warnings: tuple[Problem, ...], started: float) -> MergeReport:
    """All files of the result, and the report."""
    recipe, adapters = work.recipe, work.adapters
    averaged = mean_head(recipe, adapters) if recipe.output.heads == "mean" else {}
    head_modules = sorted({role.module for role in adapters[0].heads}) if averaged else []
    vectors = {site: work.vector_shape(site) for site in work.sites if site.kind == "ia3"}
    lora_bias = any(site.kind == "bias" for site in work.sites)
    if vectors:
        config = ia3_config(written, adapters, vectors, head_modules)
    else:
        config = lora_config(written, adapters, work.ranks, lora_bias, head_modules)
    heads = {} if averaged else kept_heads(adapters)
    planned = work.planned()
    summed = totals(work.reports, work.conflicts, sum(tensor.count for tensor in planned))
    matrix = cosines(work.products)
    for name, head in averaged.items():
        planned.append(Planned(name, head.dtype, head.shape, lambda head=head: head))  # type: ignore[misc]
    with OutputFolder(output) as folder:
        folder.put(CONFIG, as_json(config))
        folder.stream(WEIGHTS, planned)
        for name, data in {**heads, **routing_files(recipe, adapters)}.items():
            folder.put(name, data)
        if averaged and adapters[0].labels is not None:
            folder.put(LABELS, labels_json(adapters[0].labels))
        folder.put(RECIPE, to_yaml(written).encode())
        told = manifest(
            written, [adapter.told for adapter in adapters], work.reports, summed, matrix, dict(folder.hashes)
        )
        folder.put(REPORT, as_json(told))
    return MergeReport(
        manifest=told,
        layers=tuple(work.reports),
        totals=summed,
        cosines=matrix,
        heads=tuple(name for name in heads if name.endswith(".safetensors")),
        warnings=warnings,
        files=tuple(folder.hashes),
        seconds=time.perf_counter() - started,
    )
