"""Comparison of two files: numbers against numpy on whole arrays, and every status."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save

from adapters.diffs import Side, TensorChange, compare, summary
from adapters.diffs.summary import percent
from adapters.formats import values
from adapters.formats.errors import FormatError
from tests.make_adapters import lora_tensors, raw_file


def diff(folder: Path, old: dict | bytes, new: dict | bytes) -> dict[str, TensorChange]:
    for name, tensors in (("old", old), ("new", new)):
        (folder / name).write_bytes(tensors if isinstance(tensors, bytes) else save(tensors))
    return {change.name: change for change in compare(Side([folder / "old"]), Side([folder / "new"]))}


def test_every_status(tmp_path: Path) -> None:
    old = {name: np.ones((2, 3), np.float32) for name in ("same", "moved", "gone", "shape", "type")}
    new = {name: values.copy() for name, values in old.items() if name != "gone"}
    new["moved"][0, 0] = 2
    new["shape"] = np.ones((3, 2), np.float32)
    new["type"] = new["type"].astype(np.float16)
    new["extra"] = np.zeros(4, np.int64)
    changes = diff(tmp_path, old, new)
    assert {name: change.status for name, change in changes.items()} == {
        "same": "unchanged",
        "moved": "changed",
        "gone": "removed",
        "shape": "reshaped",
        "type": "cast",
        "extra": "added",
    }
    assert changes["shape"].old_shape == (2, 3)
    assert changes["type"].old_dtype == "F32"
    moved = changes["moved"]
    assert moved.relative_norm == pytest.approx(1 / np.sqrt(6))
    assert (moved.max_abs, moved.share_changed) == (1, 1 / 6)
    assert summary(list(changes.values())) == (
        "Changed 3 of 4 tensors (75.0 % of parameters), 1 added, 1 removed; relative change 40.8 %; "
        "1 only stored in another type; 1 of another shape."
    )


def test_the_same_file_twice(tmp_path: Path) -> None:
    changes = diff(tmp_path, lora_tensors(), lora_tensors())
    assert {change.status for change in changes.values()} == {"unchanged"}
    assert summary(list(changes.values())) == f"All {len(changes)} tensors are the same, byte for byte."


def test_a_tiny_change_keeps_its_digits(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    a = random.normal(size=700_001)
    b = a + 1e-9 * random.normal(size=a.size)
    change = diff(tmp_path, {"x": a}, {"x": b})["x"]
    assert change.relative_norm == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a), rel=1e-9)
    angle = np.linalg.norm(b / np.linalg.norm(b) - a / np.linalg.norm(a))
    assert change.cosine_distance == pytest.approx(angle**2 / 2, rel=1e-6)


def test_rounding_either_way_is_a_cast(tmp_path: Path) -> None:
    wide = np.random.default_rng(4).normal(size=50).astype(np.float32)
    bits = values.round_to(wide, "BF16").view(np.uint32) >> 16
    narrow = raw_file({"x": {"dtype": "BF16", "shape": [50], "data_offsets": [0, 100]}}, bits.astype("<u2").tobytes())
    assert diff(tmp_path, {"x": wide}, narrow)["x"].status == "cast"
    assert diff(tmp_path, narrow, {"x": wide})["x"].status == "cast"
    other = wide.copy()
    other[7] += 1
    assert diff(tmp_path, narrow, {"x": other})["x"].status == "changed"


def test_not_finite_values_do_not_spoil_the_numbers(tmp_path: Path) -> None:
    old = np.array([1, 2, np.nan, np.inf, 3], np.float32)
    new = np.array([1, 2, np.nan, np.inf, np.nan], np.float32)
    change = diff(tmp_path, {"x": old}, {"x": new})["x"]
    assert (change.status, change.not_finite, change.share_changed) == ("changed", 3, 0.2)
    assert (change.relative_norm, change.cosine_distance, change.max_abs) == (0, 0, 0)
    assert "3 values are not finite" in summary([change])


def test_from_zero_there_is_no_ratio(tmp_path: Path) -> None:
    change = diff(tmp_path, {"x": np.zeros(3, np.float32)}, {"x": np.ones(3, np.float32)})["x"]
    assert (change.relative_norm, change.cosine_distance, change.max_abs) == (None, 1, 1)


def test_negative_zero_is_a_change_of_nothing(tmp_path: Path) -> None:
    change = diff(tmp_path, {"x": np.array([0.0])}, {"x": np.array([-0.0])})["x"]
    assert (change.status, change.share_changed, change.relative_norm) == ("changed", 0, 0)


def test_types_without_values_are_still_told_apart(tmp_path: Path) -> None:
    header = {"x": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}
    changes = diff(tmp_path, raw_file(header, b"\1\2"), raw_file(header, b"\1\3"))
    assert (changes["x"].status, changes["x"].relative_norm) == ("changed", None)
    assert diff(tmp_path, raw_file(header, b"\1\2"), raw_file(header, b"\1\2"))["x"].status == "unchanged"


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        diff(tmp_path, b"", {"x": np.ones(1)})


SHAPES = arrays.array_shapes(max_dims=2, max_side=6)
NUMBERS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


@settings(max_examples=100)
@given(st.data())
def test_numbers_agree_with_numpy(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    old = data.draw(arrays.arrays(np.float32, shape, elements=NUMBERS))
    new = data.draw(arrays.arrays(np.float32, shape, elements=NUMBERS))
    change = diff(tmp_path_factory.mktemp("d"), {"x": old}, {"x": new})["x"]
    a, b = old.astype(np.float64).ravel(), new.astype(np.float64).ravel()
    if old.tobytes() == new.tobytes():
        assert change.status == "unchanged"
        return
    assert change.max_abs == np.abs(b - a).max()
    assert change.share_changed == np.mean(a != b)
    if a.any():
        assert change.relative_norm == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a))
    if a.any() and b.any():
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        assert change.cosine_distance == pytest.approx(1 - cosine, abs=1e-9)


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (1, "100.0 %"), (0.0782, "7.8 %"), (0.0004, "0.04 %"), (1e-9, "<0.001 %")]
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text
