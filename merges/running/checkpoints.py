"""A whole checkpoint out of a base, full fine-tunes of it and adapters, tensor by tensor in bounded memory.

Memory holds one tensor of the result and a few blocks of the inputs, however many inputs there are. The result is
written in place; a journal says which tensors are done, so a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from adapters.formats.modules import BaseIndex
from merges.methods import Layer, Source
from merges.methods.deltas import Array, Delta, LowRank, blocks, zero
from merges.methods.scratch import borrowed
from merges.recipes import Problem, Recipe, RecipeError, lint, to_yaml
from merges.running.adapters import Adapter, LocalAdapter, Site, read_adapter
from merges.running.geometry import Conflict, cosines, sampled
from merges.running.heads import kept_heads
from merges.running.journal import Journal
from merges.running.pool import in_order, threads_for
from merges.running.report import LayerReport, MergeReport, Progress, Totals, as_json, manifest, tell, totals
from merges.running.results import WholeResult
from merges.running.whole import Checkpoint, Difference, Rows, Scaled, can_merge, open_checkpoint
from merges.running.writing import rounded, stored, too_large

Input = Checkpoint | Adapter


def merge_checkpoints(
    recipe: Recipe,
    inputs: Sequence[LocalAdapter],
    base: LocalAdapter,
    output: Path,
    progress: Progress,
    scratch: Path | None,
    written: Recipe,
) -> MergeReport:
    """Merge `inputs` into `base`; arguments and errors as `merges.running.run`.

    Form `checkpoint` writes the base's files with merged weights, `delta` only θ* − θ₀ of what changed.
    """
    started = time.perf_counter()
    with threadpool_limits(limits=1), ExitStack() as open_files:
        assert recipe.base is not None
        ground = open_checkpoint(recipe.base.model, base, "base", open_files)
        opened, warnings = _opened(recipe, inputs, open_files)
        work = _Work(recipe, ground, opened)
        work.check()
        names = work.names()
        result = WholeResult(recipe, ground, names, scratch or output.with_name(output.name + ".partial"))
        journal = Journal(result.folder / "journal.jsonl", work.key(names))
        result.begin(fresh=not journal.done)
        try:
            _stream(work, result, journal, names, progress)
            told = _finish(work, result, journal, names, base.folder, inputs, written)
            result.publish(output)
        except BaseException:
            result.close()
            if scratch is None:
                result.discard()
            raise
    return _report(told, journal, work, result, warnings, started)


def _opened(
    recipe: Recipe, inputs: Sequence[LocalAdapter], open_files: ExitStack
) -> tuple[list[Input], tuple[Problem, ...]]:
    wanted, given = [entry.adapter for entry in recipe.inputs], [local.name for local in inputs]
    if wanted != given:
        message = f"The recipe names {', '.join(wanted)} but {', '.join(given) or 'nothing'} was given."
        raise RecipeError([Problem("inputs", "error", message)])
    opened: list[Input] = []
    for position, (entry, local) in enumerate(zip(recipe.inputs, inputs, strict=True)):
        place = f"inputs[{position}]"
        if entry.whole:
            opened.append(open_checkpoint(local.name, local, place, open_files))
        else:
            opened.append(read_adapter(local, place, open_files))
    problems = lint(recipe, [item.facts if isinstance(item, Adapter) else {"sha256": item.sha256} for item in opened])
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise RecipeError(errors)
    return opened, tuple(problem for problem in problems if problem.severity == "warning")


@dataclass
class _Work:
    """What every input brings to each tensor of the base."""

    recipe: Recipe
    ground: Checkpoint
    inputs: list[Input]
    sites: list[dict[str, Site]] = field(default_factory=list)

    def __post_init__(self) -> None:
        index = BaseIndex(self.ground.header)
        for item in self.inputs:
            self.sites.append(_sites_by_tensor(item, index, self.ground) if isinstance(item, Adapter) else {})

    def check(self) -> None:
        """Raise RecipeError for checkpoints that lack a tensor of the base, have one more, or other sizes."""
        problems = []
        for item in self.inputs:
            if isinstance(item, Checkpoint) and (message := _unlike(self.ground, item)):
                problems.append(Problem(item.place, "error", message))
        if problems:
            raise RecipeError(problems)

    def key(self, names: Sequence[str]) -> dict[str, Any]:
        """What a journal must agree on to be gone on with."""
        from merges.recipes import fingerprint

        hashes = [self.ground.sha256, *(item.sha256 for item in self.inputs)]
        return {"recipe": fingerprint(self.recipe), "inputs": hashes, "tensors": len(names)}

    def names(self) -> list[str]:
        """The tensors of the result in the order they are written; for a delta only those that can change."""
        everything = sorted(self.ground.holder)
        if self.recipe.output.form == "checkpoint":
            return everything
        changed = set().union(*self.sites)
        whole = any(isinstance(item, Checkpoint) for item in self.inputs)
        return [name for name in everything if can_merge(self.ground.info(name)) and (whole or name in changed)]

    def layers(self, names: Sequence[str]) -> Iterator[Layer]:
        """Every layer that can be merged, in order."""
        return (
            self.layer(name, Rows(self.ground, name, keeping=True))
            for name in names
            if can_merge(self.ground.info(name))
        )

    def layer(self, name: str, base: Rows, keep: Sequence[int | None] = ()) -> Layer:
        """One tensor of the base, and what each input would add to it."""
        counts = keep or [None] * len(self.inputs)
        sources = [
            Source(
                delta=self._delta(position, name, base),
                weight=entry.weight,
                identity=self.inputs[position].sha256,
                parameters={**self.recipe.parameters, **entry.parameters},
                keep=counts[position],
            )
            for position, entry in enumerate(self.recipe.inputs)
        ]
        return Layer(name, base.shape, tuple(sources))

    def _delta(self, position: int, name: str, base: Rows) -> Delta:
        item = self.inputs[position]
        if isinstance(item, Checkpoint):
            own = item.own_name(name)
            assert own is not None
            return Difference(Rows(item, own), base)
        site = self.sites[position].get(name)
        return _adapter_delta(item, site, base, name) if site else zero(base.shape)


def _unlike(ground: Checkpoint, item: Checkpoint) -> str | None:
    for name in ground.holder:
        own = item.own_name(name)
        if own is None:
            return f"{item.name} has no tensor {name}, which {ground.name} has. They are not of one base."
        if item.info(own).shape != ground.info(name).shape:
            sizes = f"{list(item.info(own).shape)} in {item.name} and {list(ground.info(name).shape)} in {ground.name}"
            hint = " Their vocabularies differ." if "embed" in name or "lm_head" in name else ""
            return f"{name} has size {sizes}.{hint} Checkpoints must have the base's sizes."
    strange = [name for name in item.holder if name not in ground.holder and ground.own_name(name) is None]
    return f"{item.name} also has {strange[0]}, which {ground.name} does not have." if strange else None


def _sites_by_tensor(adapter: Adapter, index: BaseIndex, ground: Checkpoint) -> dict[str, Site]:
    """The base's tensors that an adapter changes.

    Raises RecipeError for a module the base does not have, and for two modules that are one tensor there (an encoder's
    and a decoder's layer on a base that holds only the encoder): each was taught for a layer of its own.
    """
    result: dict[str, Site] = {}
    for site in sorted(adapter.sites):
        weight = index.weight(site.module)
        if weight is None:
            message = f"{adapter.name} adapts {site.module}, which {ground.name} does not have."
            raise RecipeError([Problem("inputs", "error", message)])
        bias = f"{weight.name.removesuffix('weight')}bias"
        changed = [] if site.kind == "bias" else [weight.name]
        if (site.kind == "bias" or (site.kind == "ia3" and adapter.scales_outputs(site))) and bias in ground.holder:
            changed.append(bias)
        for name in changed:
            if (first := result.setdefault(name, site)) != site:
                both = f"{adapter.name} adapts {first.module} and {site.module}"
                message = f"{both}, but {ground.name} has only {name} for both. It was made for another base."
                raise RecipeError([Problem("inputs", "error", message)])
    return result


def _adapter_delta(adapter: Adapter, site: Site, base: Rows, name: str) -> Delta:
    """ΔW in the shape of the base's tensor. Raises RecipeError if it has another one."""
    delta: Delta = adapter.delta(site)
    if site.kind == "ia3":
        return _scaled(adapter, site, delta.rows(slice(None)).ravel(), base, name)
    turned = site.kind == "embedding" or (site.kind == "linear" and adapter.config.fan_in_fan_out)
    if turned and isinstance(delta, LowRank):
        delta = LowRank(delta.right.T, delta.left.T)
    if delta.shape != base.shape:
        message = f"{adapter.name} changes {name} as {list(delta.shape)}, but the base has {list(base.shape)}."
        raise RecipeError([Problem("inputs", "error", message)])
    return delta


def _scaled(adapter: Adapter, site: Site, offset: Array, base: Rows, name: str) -> Scaled:
    """θ₀ ⊙ (l − 1): l along a weight's outputs or inputs, whichever axis they are; a bias, one row, as a whole."""
    along_rows = name.endswith("weight") and adapter.scales_outputs(site) != adapter.config.fan_in_fan_out
    values = base.shape[0] if along_rows else base.shape[1]
    if offset.size != values:
        message = f"{adapter.name} scales {name} by {offset.size} numbers, but the base has {values} there."
        raise RecipeError([Problem("inputs", "error", message)])
    return Scaled(base, offset, along_rows)


def _stream(work: _Work, result: WholeResult, journal: Journal, names: Sequence[str], progress: Progress) -> None:
    """Merge and write every tensor that the journal does not have yet."""
    survey, left = work.recipe.declared.survey, [name for name in names if name not in journal.done]
    surveyed = survey(lambda: work.layers(names), work.recipe.parameters) if survey and left else {}

    def one(name: str) -> dict[str, Any]:
        return _merged(work, result, name, surveyed.get(name, ()))

    values = sum(work.ground.info(name).count for name in left) * len(work.inputs)
    merging = in_order(left, one, threads_for(values))
    written, total = 0, sum(result.nbytes(name) for name in names)
    for done, name in enumerate(names):
        tell(progress, done, len(names), f"{name} ({written / 1e6:,.0f} of {total / 1e6:,.0f} MB)")
        written += result.nbytes(name)
        if name not in journal.done:
            journal.add(name, next(merging))
    tell(progress, len(names), len(names), "finishing")


def _merged(work: _Work, result: WholeResult, name: str, keep: Sequence[int | None]) -> dict[str, Any]:
    """Merge and write one tensor; what the journal keeps of it."""
    if not can_merge(work.ground.info(name)):
        result.copy(name)
        return {}
    base = Rows(work.ground, name, keeping=True)
    layer = work.layer(name, base, keep)
    opposed, products = sampled(layer)
    try:
        length, lost = _write(result, name, base, work.recipe.declared.run(layer, work.recipe.parameters), work.recipe)
    except np.linalg.LinAlgError:
        message = f"{name} cannot be decomposed: its values are NaN, too large, or too far apart in size."
        raise RecipeError([Problem("inputs", "error", message)]) from None
    if not math.isfinite(length):
        message = f"{name} becomes NaN or infinite: one of the inputs holds such values there. Leave it out."
        raise RecipeError([Problem("inputs", "error", message)])
    if not math.isfinite(lost):
        raise RecipeError([Problem("output.dtype", "error", too_large(name, work.recipe.output.dtype))])
    report = LayerReport(name, "tensor", layer.shape, (), 0, length, lost / length if length else 0.0, opposed.share)
    return {"report": asdict(report), "mass": [opposed.mass, opposed.left], "products": products.tolist()}


def _write(result: WholeResult, name: str, base: Rows, merged: Delta, recipe: Recipe) -> tuple[float, float]:
    """Write θ₀ + τ (or τ) block by block; returns ‖τ‖ and what rounding to the output's type loses of it.

    The loss is infinite or NaN where a value is too large for that type.
    """
    dtype, alone = recipe.output.dtype, recipe.output.form == "delta"
    length = lost = 0.0
    for block in blocks(base.shape):
        with (
            borrowed((block.stop - block.start, base.shape[1])) as (change,),
            np.errstate(over="ignore", invalid="ignore"),
        ):
            merged.rows(block, change)
            if dtype == "float32":
                square = float(np.vdot(change, change))
                length += square if math.isfinite(square) else float(np.square(change, dtype=np.float64).sum())
                if not alone:
                    change += base.rows(block)
                    lost += 0.0 * (float(change.max()) + float(change.min()))  # NaN where θ₀ + τ overflows
                result.write(name, block.start * base.shape[1], change.data)
                continue
            exact = change.astype(np.float64)
            length += float(np.square(exact).sum())
            if not alone:
                exact += base.rows(block)
                change += base.rows(block)
            lost += float(np.square(rounded(change, dtype) - exact).sum())
            result.write(name, block.start * base.shape[1], stored(change, dtype).data)
    return length**0.5, lost**0.5


def _finish(
    work: _Work,
    result: WholeResult,
    journal: Journal,
    names: Sequence[str],
    base: Path,
    inputs: Sequence[LocalAdapter],
    written: Recipe,
) -> dict[str, Any]:
    """The files beside the weights and the manifest."""
    heads = kept_heads([item for item in work.inputs if isinstance(item, Adapter)])
    result.put_beside(base, {"recipe.yaml": to_yaml(written).encode(), **heads})
    reports, summed, matrix = _measured(journal, result.count)
    told_inputs = [_input_facts(item, local) for item, local in zip(work.inputs, inputs, strict=True)]
    told = manifest(written, told_inputs, reports, summed, matrix, result.hashes())
    result.put("merge_report.json", as_json(told))
    return told


def _measured(journal: Journal, count: int) -> tuple[list[LayerReport], Totals, list[list[float | None]]]:
    rows = [facts for facts in journal.done.values() if facts]
    reports = [
        LayerReport(**(row["report"] | {"shape": tuple(row["report"]["shape"]), "ranks_in": ()})) for row in rows
    ]
    summed = totals(reports, [Conflict(*row["mass"]) for row in rows], count)
    return reports, summed, cosines(sum(np.array(row["products"]) for row in rows))


def _input_facts(item: Input, local: LocalAdapter) -> Mapping[str, Any]:
    if isinstance(item, Adapter):
        return item.told
    sha256 = None if local.alias else item.sha256
    return {"model": local.alias or item.name, "sha256": sha256, "method": "checkpoint"}


def _report(
    told: dict[str, Any],
    journal: Journal,
    work: _Work,
    result: WholeResult,
    warnings: tuple[Problem, ...],
    started: float,
) -> MergeReport:
    reports, summed, matrix = _measured(journal, result.count)
    files = tuple(result.written)
    return MergeReport(
        manifest=told,
        layers=tuple(reports),
        totals=summed,
        cosines=matrix,
        heads=tuple(name for name in files if name.startswith("heads/") and name.endswith(".safetensors")),
        warnings=warnings,
        files=files,
        seconds=time.perf_counter() - started,
    )
