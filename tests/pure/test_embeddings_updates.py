"""Cosines of effective updates against dense oracles, and what must not change them."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from adapters.embeddings import published, tuned
from adapters.embeddings.declaration import EmbeddingFault, Material
from adapters.embeddings.updates import Update, cosine, inner, likeness, read_update, sketch
from adapters.formats.errors import FormatError
from tests.make_adapters import ia3_config, ia3_tensors, lora_config, lora_tensors, write_adapter


def random_update(seed: int, rank: int = 3, places: int = 4, size: tuple[int, int] = (24, 20)) -> Update:
    chance = np.random.default_rng(seed)
    return Update({
        f"layer.{n}": (chance.normal(size=(size[0], rank)).astype(np.float32), chance.normal(size=(rank, size[1])).astype(np.float32))
        for n in range(places)
    })  # fmt: skip


def dense(update: Update) -> np.ndarray:
    return np.concatenate(
        [(left.astype(float) @ right.astype(float)).ravel() for _, (left, right) in sorted(update.places.items())]
    )


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 6))
def test_the_trace_formula_is_the_dense_inner_product(seed: int, one_rank: int, other_rank: int) -> None:
    one, other = random_update(seed, one_rank), random_update(seed + 1, other_rank)
    a, b = dense(one), dense(other)
    assert inner(one, other) == pytest.approx(float(a @ b), rel=1e-6, abs=1e-4)
    assert cosine(one, other) == pytest.approx(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), abs=1e-6)


def test_the_gauge_and_the_rank_do_not_matter() -> None:
    one = random_update(0)
    chance = np.random.default_rng(9)
    changed = {}
    for name, (left, right) in one.places.items():
        mix = chance.normal(size=(3, 3))
        wider = np.zeros((24, 2), np.float32), np.ones((2, 20), np.float32)
        changed[name] = (
            np.hstack([left @ np.linalg.inv(mix), wider[0]]).astype(np.float32),
            np.vstack([mix @ right, wider[1]]).astype(np.float32),
        )
    assert cosine(one, Update(changed)) == pytest.approx(1, abs=1e-5)
    assert (
        published.METHOD.embed(Material(update=one)).vector.shape
        != published.METHOD.embed(Material(update=Update(changed))).vector.shape
    )


def test_only_shared_places_count() -> None:
    one = random_update(0, places=4)
    half = Update(dict(list(one.places.items())[:2]))
    expected = half.norm / one.norm
    assert cosine(one, half) == pytest.approx(expected, abs=1e-6)
    assert cosine(one, Update({"elsewhere": one.places["layer.0"]})) == 0
    found = likeness(one, half)
    assert [name for name, _ in found.places] == ["layer.0", "layer.1"] and found.places[0][1] == pytest.approx(1)


def test_a_sketch_estimates_cosines_within_its_stated_error() -> None:
    errors = []
    for seed in range(60):
        one, noise = random_update(seed, places=3), random_update(seed + 500, places=3)
        mixed = Update(
            {
                name: (np.hstack([one.places[name][0], 0.7 * pair[0]]), np.vstack([one.places[name][1], pair[1]]))
                for name, pair in noise.places.items()
            }
        )
        errors.append(float(sketch(one) @ sketch(mixed)) - cosine(one, mixed))
    assert abs(np.mean(errors)) < 0.01
    assert np.std(errors) < 1.5 / np.sqrt(2048)


def test_a_sketch_is_the_same_everywhere() -> None:
    vector = sketch(Update({"a": (np.ones((2, 1), np.float32), np.ones((1, 3), np.float32))}), width=8)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    assert vector * np.sqrt(6) == pytest.approx(FROZEN, abs=1e-5)


FROZEN = [0, -1, 1, 0, 1, 1, -1, 1]


def test_scaling_of_lora_and_rslora_and_ia3_offsets(tmp_path: Path) -> None:
    plain = read_update(write_adapter(tmp_path / "plain"))
    ranked = read_update(write_adapter(tmp_path / "ranked", lora_config(use_rslora=True)))
    rank = lora_config()["r"]
    assert ranked.norm / plain.norm == pytest.approx(rank**0.5, rel=1e-5)
    assert cosine(plain, ranked) == pytest.approx(1, abs=1e-6)
    tensors = ia3_tensors()
    vectors = read_update(write_adapter(tmp_path / "ia3", ia3_config(), tensors))
    expected = np.sqrt(sum(float(((value - 1) ** 2).sum()) for name, value in tensors.items() if "ia3_l" in name))
    assert vectors.norm == pytest.approx(expected, rel=1e-5)
    assert cosine(vectors, plain) == 0


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        read_update(write_adapter(tmp_path / "dora", lora_config(use_dora=True)))
    nothing = {name: np.zeros_like(value) for name, value in lora_tensors().items()}
    with pytest.raises(EmbeddingFault, match="zero"):
        tuned.embed(Material(update=read_update(write_adapter(tmp_path / "zero", tensors=nothing))))
    poisoned = lora_tensors()
    next(iter(poisoned.values()))[0, 0] = np.nan
    with pytest.raises(EmbeddingFault, match="NaN"):
        tuned.embed(Material(update=read_update(write_adapter(tmp_path / "nan", tensors=poisoned))))
    folder = write_adapter(tmp_path / "half")
    halved = {name: value for name, value in lora_tensors().items() if "lora_B" not in name}
    save_file(halved, folder / "adapter_model.safetensors")
    with pytest.raises(FormatError, match="no lora_B"):
        read_update(folder)
    assert json.loads((folder / "adapter_config.json").read_text())["peft_type"] == "LORA"
