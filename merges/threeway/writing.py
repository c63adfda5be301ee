"""Writing the merged files: bytes as they are where one side decides, made by a method where both changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adapters.formats.errors import FormatError
from adapters.formats.peft_config import PeftConfig
from adapters.formats.safetensors_header import TensorInfo
from adapters.formats.values import NUMPY, Array, TensorFile, round_to
from merges.methods import Layer, Source
from merges.methods.deltas import Dense, LowRank, dense, svd
from merges.running.sidecars import Sidecars
from merges.threeway.rules import Rule, RuleError, rule_for
from merges.threeway.units import Progress, ThreeWay, Unit

SIDE_WORDS = {"ours": "the target", "theirs": "the proposal"}


@dataclass(frozen=True)
class Taken:
    """A tensor copied byte by byte from one side."""

    side: str
    info: TensorInfo


@dataclass(frozen=True)
class Made:
    """A tensor computed here."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


Part = Taken | Made
Layout = Mapping[str, Mapping[str, Path]]
"""Side ("ours", "theirs") → path in the repo → local file."""


@dataclass
class Result:
    """What was decided: for each unit in conflict the strategy, and the error of cutting an update to its rank."""

    decisions: list[dict[str, Any]] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)


def write(
    three: ThreeWay, rules: Sequence[Rule], layout: Layout, folder: Path,
    config: PeftConfig | None = None, progress: Progress | None = None,
) -> tuple[dict[str, Path], Result]:  # fmt: skip
    """Write the merged weights; returns path in the repo → local path, and the report.

    Every tensor keeps the file it has in ours; one that is new in theirs keeps that of theirs. A file that nothing is
    left in is not written. `config` is the merged adapter's. Raises RuleError where a rule cannot be applied, with the
    name.
    """
    result = Result()
    parts: dict[str, Part] = {}
    for number, unit in enumerate(three.units):
        if progress:
            progress(number, len(three.units), unit.name)
        parts |= _resolved(three, unit, rules, config, result)
    written = {}
    for number, (name, names) in enumerate(_places(three, parts, layout).items()):
        written[name] = folder / f"{number}.safetensors"
        _write_file(written[name], {tensor: parts[tensor] for tensor in names}, three, _metadata(three, layout, name))
    return written, result


def index(written: Mapping[str, Path], before: bytes) -> bytes:
    """The index of a sharded checkpoint after the merge: which file holds which tensor, and their bytes in all.

    `written` are the merged files by the name the index gives them; other metadata of the index `before` are kept.
    """
    found = json.loads(before)
    shards: dict[str, str] = {}
    size = 0
    for name, path in written.items():
        with TensorFile(path) as file:
            shards |= dict.fromkeys(file.header.tensors, name)
            size += sum(info.nbytes for info in file.header.tensors.values())
    metadata = {**(found.get("metadata") or {}), "total_size": size}
    return json.dumps({**found, "metadata": metadata, "weight_map": dict(sorted(shards.items()))}, indent=2).encode()


def _resolved(
    three: ThreeWay, unit: Unit, rules: Sequence[Rule], config: PeftConfig | None, result: Result
) -> dict[str, Part]:
    if unit.state == "rows":
        result.decisions.append({"name": unit.name, "strategy": "rows"})
        return {unit.name: _by_rows(three, unit.name)}
    if unit.state != "conflict":
        side = "theirs" if unit.state == "theirs" else "ours"
        result.taken[unit.state] = result.taken.get(unit.state, 0) + 1
        return _take(three, unit, side, config)
    rule = rule_for(rules, unit.name)
    entry: dict[str, Any] = {"name": unit.name, "strategy": rule.strategy, "match": rule.match}
    result.decisions.append(entry)
    if rule.method is None:
        return _take(three, unit, rule.strategy, config)
    if not three.can_be_mixed(unit):
        raise RuleError(
            f"{unit.name} cannot be mixed ({_why(unit.reason)}): add a rule for it that takes ours, theirs or original."
        )
    if unit.is_update:
        made, entry["truncation_error"] = _mixed_update(three, unit, rule, config)
        return made
    return {unit.name: _mixed(three, unit, rule)}


def _why(reason: str) -> str:
    words = {"removed": "one side removed it", "added": "both sides added it", "shape": "its shapes differ"}
    return words.get(reason, "its numbers are whole")


def _take(three: ThreeWay, unit: Unit, side: str, config: PeftConfig | None) -> dict[str, Part]:
    """A side's tensors of a unit, those it has. An update keeps its effect if the merged scaling is another."""
    opened = three.sides[side]
    parts: dict[str, Part] = {name: Taken(side, opened.info(name)) for name in unit.members if name in opened}
    update = three.updates[side].get(unit.name) if unit.is_update else None
    if update and config:
        wanted = config.scaling_of(unit.name, update.rank)
        if wanted and wanted != update.scaling:
            left = opened.read(update.left).astype(np.float32) * np.float32(update.scaling / wanted)
            parts[update.left] = _made(left, update.dtype, left.shape)
    return parts


def _mixed(three: ThreeWay, unit: Unit, rule: Rule) -> Made:
    info = three.ours.info(unit.name)
    before = three.matrix(unit.name, "original")
    merged = before + dense(_run(three, unit, rule))
    return _made(merged, info.dtype, info.shape)


def _run(three: ThreeWay, unit: Unit, rule: Rule) -> Any:
    method = rule.method
    assert method is not None
    parameters = method.filled(rule.parameters, 2)
    for side in ("ours", "theirs"):
        if missing := set(method.needs) - three.sidecars.get(side, Sidecars()).kinds:
            raise RuleError(
                f"{method.title} needs {', '.join(sorted(missing))} statistics of both sides' present weights, and "
                f"{SIDE_WORDS[side]} has none. Publish them from /merge/statistics, or choose another strategy."
            )
    sources = tuple(
        Source(
            delta := three.delta(unit, side),
            weight,
            side,
            parameters,
            statistics=three.statistics(unit, side, delta.shape, method.needs),
        )
        for side, weight in (("ours", rule.ours), ("theirs", rule.theirs))
    )
    try:
        return method.run(Layer(unit.name, sources[0].delta.shape, sources), parameters)
    except ValueError as error:
        raise RuleError(f"{unit.name}: {error}") from error


def _mixed_update(three: ThreeWay, unit: Unit, rule: Rule, config: PeftConfig | None) -> tuple[dict[str, Part], float]:
    """Merge the effects, then write them as factors of the adapter's rank; the error of that is |rest| / |merged|."""
    update = three.update(unit, "ours")
    rank = (config.rank_of(unit.name) if config else None) or update.rank
    scaling = (config.scaling_of(unit.name, rank) if config else None) or update.scaling
    left, right = three.factors(unit, "original")
    change = _run(three, unit, rule)
    if isinstance(change, LowRank):
        whole: Any = LowRank(np.concatenate([left, change.left], axis=1), np.concatenate([right, change.right]))
    else:
        whole = Dense(left @ right + dense(change))
    u, sigma, v = svd(whole)
    energy = float(np.sum(sigma**2))
    error = float(np.sqrt(np.sum(sigma[rank:] ** 2) / energy)) if energy else 0.0
    root = np.sqrt(sigma[:rank])
    one, other = np.zeros((u.shape[0], rank)), np.zeros((rank, v.shape[0]))
    one[:, : root.size], other[: root.size] = u[:, :rank] * root / scaling, (v[:, :rank] * root).T
    return {
        update.left: _made(one, update.dtype, one.shape), update.right: _made(other, update.dtype, other.shape),
    }, error  # fmt: skip


def _by_rows(three: ThreeWay, name: str) -> Made:
    """The resized side's rows, with the other side's values in every row that was kept."""
    found = three.row_match(name)
    assert found is not None
    resized, match = found
    other = "theirs" if resized == "ours" else "ours"
    merged, changed = three.sides[resized].read(name).copy(), three.sides[other].read(name)
    kept = [(row, origin) for row, origin in enumerate(match.origins) if origin >= 0]
    if kept:
        targets, origins = (np.array(column) for column in zip(*kept, strict=True))
        merged[targets] = changed[origins]
    info = three.sides[resized].info(name)
    return _made(merged, info.dtype, info.shape)


def _made(values: Array, dtype: str, shape: tuple[int, ...]) -> Made:
    """Round values to a type and lay them out as the file wants them."""
    if dtype in ("F64", "F32", "F16", "BF16"):
        rounded = round_to(values, dtype)
        if dtype == "BF16":
            bits = np.ascontiguousarray(rounded.astype(np.float32)).view(np.uint32) >> np.uint32(16)
            return Made(dtype, shape, bits.astype("<u2").tobytes())
        return Made(dtype, shape, np.ascontiguousarray(rounded).astype(NUMPY[dtype]).tobytes())
    if dtype.startswith(("I", "U")) and values.dtype.kind in "iu":
        return Made(dtype, shape, np.ascontiguousarray(values).astype(NUMPY[dtype]).tobytes())
    raise RuleError(f"Values of type {dtype} cannot be written here: take one side as it is.")


def _places(three: ThreeWay, parts: dict[str, Part], layout: Layout) -> dict[str, list[str]]:
    """Path → tensors in order: ours' files and order, then what theirs added."""
    places: dict[str, list[str]] = {name: [] for name in layout["ours"]}
    for side, others in (("ours", None), ("theirs", three.ours)):
        by_path = {path: name for name, path in layout[side].items()}
        for name in three.sides[side]:
            if name in parts and (others is None or name not in others):
                places.setdefault(by_path[three.sides[side].path(name)], []).append(name)
    only_before = [name for name in parts if name not in three.ours and name not in three.theirs]
    next(iter(places.values())).extend(only_before)
    return {name: names for name, names in places.items() if names}


def _metadata(three: ThreeWay, layout: Layout, name: str) -> dict[str, str]:
    """The metadata of a file: ours', or theirs' for a file that only they have."""
    side = "ours" if name in layout["ours"] else "theirs"
    return three.sides[side].metadata(layout[side][name])


def _write_file(path: Path, parts: dict[str, Part], three: ThreeWay, metadata: Mapping[str, str]) -> None:
    """One safetensors file, streamed."""
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = dict(metadata)
    offset = 0
    for name, part in parts.items():
        dtype, shape = (part.info.dtype, part.info.shape) if isinstance(part, Taken) else (part.dtype, part.shape)
        size = part.info.nbytes if isinstance(part, Taken) else len(part.data)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as out:
        out.write(len(raw).to_bytes(8, "little") + raw)
        for name, part in parts.items():
            for chunk in _bytes(part, name, three):
                out.write(chunk)
    if path.stat().st_size != 8 + len(raw) + offset:
        raise FormatError("truncated", "A side became shorter while it was read. Try again.")


def _bytes(part: Part, name: str, three: ThreeWay) -> Iterator[bytes]:
    if isinstance(part, Made):
        yield part.data
    else:
        yield from three.sides[part.side].raw(name)
