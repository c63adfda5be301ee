"""What somebody sends who changes a checkpoint a little: an adapter, whole tensors, or single values at positions.

    adapter   adapter_config.json and adapter_model.safetensors, as peft saves them (LoRA or IA3)
    tensors   one safetensors file: tensors named as in the base, which replace them
    sparse    one safetensors file: `<tensor>.indices` (I64, ascending, counted through the flattened tensor) and
              `<tensor>.values`, which replace the values there; a file may hold both forms

Everything is judged from the update and the base's headers alone, before anything is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters.encoding.offers import Held, Named, OnFamily, adapter_ways
from adapters.encoding.ways import MAX_POSITIONS, MAX_RANK, Cast, Lora, Same, Scale, Sparse, Way
from adapters.formats.errors import FormatError
from adapters.formats.modules import role_of
from adapters.formats.peft_config import PeftConfig, parse_config
from adapters.formats.safetensors_header import Header, TensorInfo
from adapters.formats.values import FLOATING, TensorFile

CONFIG, WEIGHTS, OTHER = "adapter_config.json", "adapter_model.safetensors", "update.safetensors"
INDICES, VALUES = ".indices", ".values"


@dataclass(frozen=True)
class Update:
    """An update that fits its base: its kind, the file that holds its values, and a way for each tensor it changes.

    In the ways the base's files are inputs 0, 1, … in the order given, and the update's file is the one after.
    """

    kind: str
    weights: str
    ways: dict[str, Way]


def read_update(files: Mapping[str, Path], base: Sequence[Header]) -> Update:
    """Judge an update (file name → local file) against the headers of a checkpoint's files.

    Raises FormatError with a sentence that says what does not fit and what to do.
    """
    known = Named()
    for number, header in enumerate(base):
        for info in header.tensors.values():
            known.add(Held(number, info, header.data_start + info.begin))
    if CONFIG in files:
        return _adapter(files, known, len(base))
    weights = [name for name in files if name.endswith(".safetensors")]
    if len(weights) != 1 or len(files) != 1:
        raise FormatError(
            "update_files",
            f"An update is either {CONFIG} with {WEIGHTS}, or one safetensors file of changed tensors or values.",
        )
    return _values(files[weights[0]], weights[0], known, len(base))


def _adapter(files: Mapping[str, Path], known: Named, number: int) -> Update:
    if set(files) != {CONFIG, WEIGHTS}:
        raise FormatError("update_files", f"An adapter as an update is {CONFIG} and {WEIGHTS}, nothing else.")
    config = parse_config(files[CONFIG].read_bytes())
    if config.peft_type not in ("LORA", "IA3") or config.dora:
        raise FormatError(
            "update_kind",
            f"{config.method_label} cannot be applied to weights element by element; LoRA and IA3 can. "
            "Merge it yourself and send the changed tensors.",
        )
    with TensorFile(files[WEIGHTS]) as opened:
        _finite(opened)
        header = opened.header
    offered = adapter_ways(OnFamily(number, config, 0), files[WEIGHTS], known)
    ways = {name: found[0] for name, found in offered.items()}
    used = {place for found in offered.values() for way in found for place in _offsets(way)}
    for name, info in header.tensors.items():
        if info.nbytes and header.data_start + info.begin not in used:
            raise _unfit(name, info, config, known)
    for name, way in ways.items():
        target = known.exact[name].info
        if isinstance(way, Lora) and way.rank > MAX_RANK:
            raise FormatError("update_rank", f"The update of {name} has rank {way.rank}; at most {MAX_RANK} is taken.")
        if target.dtype not in FLOATING:
            raise FormatError("update_type", f"{name} holds {target.dtype} values, which an adapter cannot change.")
    if not ways:
        raise FormatError("update_empty", "The adapter changes nothing: it has no tensors.")
    return Update(config.peft_type.lower(), WEIGHTS, ways)


def _offsets(way: Way) -> tuple[int, ...]:
    if isinstance(way, Lora):
        return (way.left.offset, way.right.offset)
    if isinstance(way, Scale):
        return (way.vector.offset,)
    if isinstance(way, Cast):
        return (way.place.offset,)
    return (way.offset,) if isinstance(way, Same) else ()


def _unfit(name: str, info: TensorInfo, config: PeftConfig, known: Named) -> FormatError:
    """Why a tensor of an adapter changes nothing of this base."""
    role = role_of(name, config)
    target = known.find(f"{role.module}.weight")
    shape = " × ".join(map(str, info.shape))
    if target is None:
        return FormatError("update_module", f"{name} changes {role.module or name}, which this base does not have.")
    if role.part in ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "ia3_l", "head", "base_copy"):
        other = " × ".join(map(str, target.info.shape))
        return FormatError(
            "update_shape", f"{name} ({shape}) does not fit {target.info.name} ({other}): was it made for this base?"
        )
    return FormatError("update_part", f"{name} is a part of an adapter that cannot be applied to weights here.")


def _values(path: Path, file: str, known: Named, number: int) -> Update:
    ways: dict[str, Way] = {}
    sparse = False
    with TensorFile(path) as opened:
        _finite(opened)
        header, start = opened.header, opened.header.data_start
        for name, info in header.tensors.items():
            if name in known.exact:
                _same_form(name, info, known.exact[name].info)
                if name in ways:
                    raise FormatError("update_twice", f"{name} comes whole and as values at positions; choose one.")
                ways[name] = Same(number, start + info.begin)
                continue
            target = name.removesuffix(INDICES).removesuffix(VALUES)
            if target == name or target not in known.exact:
                raise FormatError("update_tensor", f"The base has no tensor {target[:200]!r}: use its own names.")
            if name.endswith(INDICES):
                if target in header.tensors:
                    raise FormatError("update_twice", f"{target} comes whole and as values at positions; choose one.")
                ways[target] = _sparse(opened, target, known.exact[target], number)
                sparse = True
            elif target + INDICES not in header.tensors:
                raise FormatError("update_pair", f"{name} needs {target}{INDICES} beside it.")
    if not ways:
        raise FormatError("update_empty", "The update changes nothing: it has no tensors.")
    return Update("sparse" if sparse else "tensors", file, ways)


def _sparse(opened: TensorFile, target: str, held: Held, number: int) -> Sparse:
    header = opened.header
    at, values = header.tensors[target + INDICES], header.tensors.get(target + VALUES)
    if values is None:
        raise FormatError("update_pair", f"{at.name} needs {target}{VALUES} beside it.")
    if at.dtype != "I64" or len(at.shape) != 1 or values.shape != at.shape:
        raise FormatError("update_pair", f"{at.name} is one row of I64 positions, and {values.name} as many values.")
    if values.dtype != held.info.dtype:
        raise FormatError(
            "update_type", f"{values.name} holds {values.dtype} values, {target} {held.info.dtype}: save them as those."
        )
    if at.count > MAX_POSITIONS:
        raise FormatError("update_positions", f"{at.count:,} positions of {target}: send the whole tensor instead.")
    last = -1
    for positions in opened.chunks(at.name):
        if positions.min() < 0 or positions.max() >= held.info.count:
            raise FormatError(
                "update_range", f"{at.name} leads outside {target}, which has {held.info.count:,} values."
            )
        steps = np.diff(positions, prepend=last)
        if (steps == 0).any():
            twice = int(positions[int(np.argmax(steps == 0))])
            raise FormatError("update_duplicate", f"{at.name} names position {twice:,} twice.")
        if (steps < 0).any():
            raise FormatError("update_order", f"The positions of {at.name} must ascend: sort them with their values.")
        last = int(positions[-1])
    start = header.data_start
    return Sparse(Same(held.number, held.offset), number, start + at.begin, start + values.begin, at.count)


def _same_form(name: str, info: TensorInfo, base: TensorInfo) -> None:
    if info.shape != base.shape:
        ours, theirs = (" × ".join(map(str, one.shape)) for one in (info, base))
        raise FormatError(
            "update_shape", f"{name} is {ours}, in the base {theirs}. An update keeps shapes; upload the whole file."
        )
    if info.dtype != base.dtype:
        raise FormatError("update_type", f"{name} holds {info.dtype} values, in the base {base.dtype}: save it so.")


def _finite(opened: TensorFile) -> None:
    for name, info in opened.header.tensors.items():
        if info.dtype in FLOATING and any(not np.isfinite(values).all() for values in opened.chunks(name)):
            raise FormatError("not_finite", f"{name} holds NaN or infinite values. Train again, or mend them first.")
