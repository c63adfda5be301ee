"""Updates that are sent alone: what each makes of its base, against peft and dense numpy; and every one that lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapters.encoding import Decoder, FileSources
from adapters.encoding.materialise import materialise
from adapters.encoding.updates import read_update
from adapters.formats.errors import FormatError
from adapters.formats.safetensors_header import read_header
from tests import make_adapters

Tensors = dict[str, np.ndarray]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_adapters.write_base(tmp_path / "base") / "model.safetensors"


def made(base: Path, folder: Path, files: dict[str, Path]) -> Tensors:
    """What an update makes, twice the same and through a written recipe."""
    update = read_update(files, [read_header(base)])
    inputs = [base, files[update.weights]]
    sizes = [path.stat().st_size for path in inputs]
    with FileSources(inputs, base) as sources:
        recipe, sha256 = materialise(update.ways, 0, read_header(base).data_start, sizes, sources)
        whole = b"".join(Decoder(recipe.to_bytes(), sizes, sources).stream(sources))
    assert hashlib.sha256(whole).hexdigest() == sha256
    (folder / "made.safetensors").write_bytes(whole)
    return load_file(folder / "made.safetensors")


def adapter_files(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in ("adapter_config.json", "adapter_model.safetensors")}


def test_a_lora_adapter_as_dense_numpy_says(base: Path, tmp_path: Path) -> None:
    folder = make_adapters.write_adapter(tmp_path / "lora", make_adapters.lora_config(modules_to_save=None, task_type=None),
                                         make_adapters.lora_tensors(labels=0))  # fmt: skip
    before, after = load_file(base), made(base, tmp_path, adapter_files(folder))
    factors, config = (
        load_file(folder / "adapter_model.safetensors"),
        json.loads((folder / "adapter_config.json").read_text()),
    )
    changed = 0
    for name, left in factors.items():
        if ".lora_B" not in name:
            continue
        module = name.removeprefix("base_model.model.").removesuffix(".lora_B.weight")
        target = next(one for one in before if one.endswith(f"{module}.weight"))
        right = factors[name.replace("lora_B", "lora_A")]
        scaling = config["lora_alpha"] / config["r"]
        dense = before[target].astype(float) + scaling * (left.astype(float) @ right.astype(float))
        assert np.allclose(after[target], dense, rtol=0, atol=np.abs(dense).max() * 2**-23)
        assert not np.array_equal(after[target], before[target])
        changed += 1
    same = [name for name in before if np.array_equal(before[name], after[name])]
    assert changed and len(same) == len(before) - changed


def test_a_tensor_of_a_wider_type_is_rounded_to_the_bases(tmp_path: Path) -> None:
    """A float32 head beside a LoRA, on a base in half precision."""
    half = {name: values.astype(np.float16) for name, values in make_adapters.base_tensors().items()}
    head = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)
    base = tmp_path / "half.safetensors"
    save_file(half | {"classifier.weight": np.zeros((3, 8), np.float16)}, base)
    tensors = make_adapters.lora_tensors(labels=0) | {"base_model.model.classifier.weight": head}
    config = make_adapters.lora_config(modules_to_save=["classifier"])
    after = made(base, tmp_path, adapter_files(make_adapters.write_adapter(tmp_path / "lora", config, tensors)))
    np.testing.assert_array_equal(after["classifier.weight"], head.astype(np.float16))


def test_ia3_multiplies(base: Path, tmp_path: Path) -> None:
    tensors = {name: values for name, values in make_adapters.ia3_tensors().items() if "ia3_l" in name}
    folder = make_adapters.write_adapter(
        tmp_path / "ia3", make_adapters.ia3_config(modules_to_save=None, task_type=None), tensors
    )
    before, after = load_file(base), made(base, tmp_path, adapter_files(folder))
    assert sum(not np.array_equal(before[name], after[name]) for name in before) >= len(tensors)


def sparse(base: Path, folder: Path, change: Callable[[Tensors, str], Any]) -> dict[str, Path]:
    name = next(name for name, values in load_file(base).items() if values.ndim == 2)
    update: Tensors = {
        f"{name}.indices": np.array([0, 5, 63], np.int64),
        f"{name}.values": np.array([1, 2, 3], np.float32),
    }
    change(update, name)
    save_file(update, folder / "update.safetensors")
    return {"update.safetensors": folder / "update.safetensors"}


def test_values_at_positions_and_whole_tensors(base: Path, tmp_path: Path) -> None:
    before = load_file(base)
    other = next(name for name, values in before.items() if values.ndim == 1)
    after = made(base, tmp_path, sparse(base, tmp_path, lambda update, name: update.update({other: before[other] + 1})))
    name = next(name for name, values in before.items() if values.ndim == 2)
    expected = before[name].copy()
    expected.flat[[0, 5, 63]] = [1, 2, 3]
    assert np.array_equal(after[name], expected) and np.array_equal(after[other], before[other] + 1)
    assert sum(not np.array_equal(before[one], after[one]) for one in before) == 2


def _set(part: str, values: Any) -> Callable[[Tensors, str], Any]:
    return lambda update, name: update.update({name + part: values})


@pytest.mark.parametrize(("change", "code"), [
    (_set(".indices", np.array([0, 5, 10**9])), "update_range"), (_set(".indices", np.array([-1, 5, 6])), "update_range"),
    (_set(".indices", np.array([0, 5, 5])), "update_duplicate"), (_set(".indices", np.array([5, 0, 63])), "update_order"),
    (_set(".indices", np.array([0, 5])), "update_pair"), (_set(".indices", np.array([0, 5, 6], np.int32)), "update_pair"),
    (_set(".values", np.array([1, np.nan, 2], np.float32)), "not_finite"),
    (_set(".values", np.array([1, 2, 3], np.float16)), "update_type"), (lambda update, name: update.pop(f"{name}.values"), "update_pair"),
    (lambda update, name: update.pop(f"{name}.indices"), "update_pair"), (lambda update, name: update.clear(), "update_empty"),
    (lambda update, name: (update.clear(), update.update({name: np.zeros((3, 3), np.float32)})), "update_shape"), (_set(".more", np.zeros(3, np.float32)), "update_tensor"),
])  # fmt: skip
def test_updates_that_do_not_fit(base: Path, tmp_path: Path, change: Callable[[Tensors, str], Any], code: str) -> None:
    with pytest.raises(FormatError) as refused:
        read_update(sparse(base, tmp_path, change), [read_header(base)])
    assert refused.value.code == code


def test_a_tensor_whole_and_in_parts(base: Path, tmp_path: Path) -> None:
    whole = load_file(base)
    with pytest.raises(FormatError, match="choose one"):
        read_update(
            sparse(base, tmp_path, lambda update, name: update.update({name: whole[name]})), [read_header(base)]
        )


@pytest.mark.parametrize(("config", "edit", "code"), [
    ({"use_dora": True}, {}, "update_kind"), ({}, {"width": 24}, "update_shape"), ({}, {"name": "lora_A"}, "update_shape"),
    ({}, {"module": "decoder.0.query"}, "update_module"), ({}, {"nan": True}, "not_finite"),
])  # fmt: skip
def test_adapters_that_do_not_fit(base: Path, tmp_path: Path, config: Any, edit: dict[str, Any], code: str) -> None:
    tensors = make_adapters.lora_tensors(labels=0, **({"width": edit["width"]} if "width" in edit else {}))
    first = next(name for name in tensors if ".lora_B" in name)
    if "name" in edit:
        tensors.pop(first)
    if "module" in edit:
        for name in [name for name in tensors if name.startswith(first.partition(".lora_B")[0])]:
            tensors["base_model.model." + edit["module"] + name[name.index(".lora_") :]] = tensors.pop(name)
    if "nan" in edit:
        tensors[first] = np.full_like(tensors[first], np.nan)
    fields = make_adapters.lora_config(modules_to_save=None, task_type=None, **config)
    folder = make_adapters.write_adapter(tmp_path / "bad", fields, tensors)
    with pytest.raises(FormatError) as refused:
        read_update(adapter_files(folder), [read_header(base)])
    assert refused.value.code == code


def test_other_files_are_no_update(base: Path, tmp_path: Path) -> None:
    for files in ({}, {"a.json": base}, {"a.safetensors": base, "b.safetensors": base}, {"adapter_config.json": base}):
        with pytest.raises(FormatError):
            read_update(files, [read_header(base)])


def test_an_update_that_overflows_is_refused(tmp_path: Path) -> None:
    fields = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["w"], "base_model_name_or_path": "a/b"}
    save_file({"layer.w.weight": np.full((4, 4), 60_000, np.float16)}, tmp_path / "base")
    folder = make_adapters.write_adapter(tmp_path / "up", fields, {
        "base_model.model.layer.w.lora_A.weight": np.full((1, 4), 100, np.float32),
        "base_model.model.layer.w.lora_B.weight": np.full((4, 1), 100, np.float32)})  # fmt: skip
    with pytest.raises(FormatError) as refused:
        made(tmp_path / "base", tmp_path, adapter_files(folder))
    assert refused.value.code == "not_finite"
