"""The strict header reader: every rule has its own code; nothing passes that the official reader refuses."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from adapters.formats import safetensors_header
from adapters.formats.errors import FormatError
from adapters.formats.safetensors_header import Header, header_size, join_headers, parse_header, read_header
from adapters.formats.statistics import measure
from adapters.formats.values import TensorFile, decode, round_to
from tests import make_adapters

HOSTILE = make_adapters.hostile_weights()


def read(data: bytes) -> Header:
    size = header_size(data[:8], len(data))
    return parse_header(data[8 : 8 + size], len(data))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_by_its_own_rule(name: str, tmp_path: Path) -> None:
    data, code = HOSTILE[name]
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        read_header(path)
    assert caught.value.code == code
    assert caught.value.message.endswith(".")
    with pytest.raises(FormatError):
        TensorFile(path)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8, np.bool_])
def test_good_file_is_read_as_written(dtype: type, tmp_path: Path) -> None:
    tensors = {"b.weight": np.arange(12).reshape(3, 4).astype(dtype), "a": np.array(3).astype(dtype)}
    tensors["empty"] = np.zeros((0, 5), dtype)
    path = tmp_path / "x.safetensors"
    path.write_bytes(save(tensors, metadata={"format": "np"}))
    header = read_header(path)
    assert header.metadata == {"format": "np"}
    with TensorFile(path) as file:
        for name, values in tensors.items():
            assert header.tensors[name].shape == values.shape
            assert header.tensors[name].nbytes == values.nbytes
            np.testing.assert_array_equal(file.read(name), values)
            pieces = list(file.chunks(name, elements=5))
            assert all(piece.size <= 5 for piece in pieces)
            np.testing.assert_array_equal(np.concatenate(pieces or [values.ravel()]), values.ravel())


def test_too_many_tensors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors_header, "MAX_TENSORS", 3)
    data = save({str(index): np.ones(1, np.float32) for index in range(4)})
    with pytest.raises(FormatError, match="at most 3"):
        read(data)


def test_joining_two_files_refuses_a_name_in_both() -> None:
    header = read(save({"a": np.ones(1, np.float32)}))
    other = read(save({"b": np.ones(1, np.float32)}))
    assert set(join_headers([header, other]).tensors) == {"a", "b"}
    with pytest.raises(FormatError, match="'a'"):
        join_headers([header, header])


def official_accepts(data: bytes) -> bool:
    try:
        deserialize(data)
    except SafetensorError:
        return False
    return True


def agree(data: bytes) -> bool:
    """Whether we accept; fails if we accept what the official reader refuses."""
    try:
        header = read(data)
    except FormatError:
        return False
    assert official_accepts(data), data[:400]
    official = {name: (item["dtype"], tuple(item["shape"])) for name, item in deserialize(data)}
    assert {info.name: (info.dtype, info.shape) for info in header.tensors.values()} == official
    return True


GOOD = save(
    {"a": np.arange(4, dtype=np.float32), "b.c": np.ones((2, 3), np.float16), "e": np.zeros((0, 2), np.int8)},
    metadata={"format": "pt"},
)


def test_the_undamaged_file_is_accepted_by_both() -> None:
    assert agree(GOOD)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_never_pass_where_the_official_reader_objects(damage: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for position, value in damage:
        data[position] = value
    agree(bytes(data))


@settings(max_examples=200)
@given(st.integers(0, len(GOOD)), st.binary(max_size=12), st.integers(0, 12))
def test_cut_and_spliced_files_never_pass_where_the_official_reader_objects(at: int, added: bytes, cut: int) -> None:
    agree(GOOD[:at] + added + GOOD[at + cut :])


SIZES = st.one_of(st.integers(-1, 5), st.sampled_from([2**31, 2**62, 2**63, 2**64, 1.0, True, None, "1"]))
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "F8_E4M3", "F4", "F6_E2M3", "I64", "C64", "F31", "f32", 3]),
        "shape": st.lists(SIZES, max_size=3),
        "data_offsets": st.lists(SIZES, min_size=1, max_size=3),
    },
    optional={"extra": st.none()},
)


@settings(max_examples=400)
@given(
    st.dictionaries(st.sampled_from(["a", "b", "", "\u00e9", "x\ty", "__metadata__"]), ENTRY, max_size=3),
    st.integers(0, 40),
    st.sampled_from(["", " ", "\n", "\t ", "x"]),
)
def test_invented_headers_never_pass_where_the_official_reader_objects(header: dict, length: int, tail: str) -> None:
    encoded = (json.dumps(header, ensure_ascii=False) + tail).encode()
    agree(struct.pack("<Q", len(encoded)) + encoded + bytes(length))


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.sampled_from(["F32", "F16", "I8", "U64", "F4"]), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    )
)
def test_every_well_tiled_file_is_accepted(parts: list[tuple[str, list[int]]]) -> None:
    position, header = 0, {}
    for number, (dtype, shape) in enumerate(parts):
        bits = safetensors_header.BITS[dtype] * int(np.prod(shape))
        if bits % 8:
            continue
        end = position + bits // 8
        header[str(number)] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    assert agree(make_adapters.raw_file(header, bytes(position)))


def test_bfloat16_and_float8_values() -> None:
    bfloat = np.array([0x3F80, 0xBF80, 0x7F80, 0x4049], "<u2").tobytes()
    np.testing.assert_allclose(decode(bfloat, "BF16"), [1, -1, np.inf, 3.140625])
    np.testing.assert_allclose(decode(bytes([0x38, 0xB8, 0x7E, 0x01]), "F8_E4M3"), [1, -1, 448, 2**-9])
    np.testing.assert_allclose(decode(bytes([0x3C, 0x7C, 0x7B]), "F8_E5M2"), [1, np.inf, 57344])
    with pytest.raises(FormatError):
        decode(b"\0", "F4")


@given(st.floats(width=32, allow_nan=False))
def test_rounding_to_bfloat16_takes_the_nearest(value: float) -> None:
    single = np.array([value], np.float32)
    rounded = round_to(single, "BF16")
    bits = rounded.view(np.uint32)
    assert bits[0] & 0xFFFF == 0
    if np.isfinite(rounded[0]) and value != 0:
        assert abs(float(rounded[0]) - value) <= max(abs(value) * 2**-8, 2.0**-133)


def test_statistics_count_what_is_not_finite(tmp_path: Path) -> None:
    values = np.zeros(600_000, np.float32)
    values[[1, 300_000, 599_999]] = [np.nan, np.inf, -7]
    path = tmp_path / "x.safetensors"
    path.write_bytes(save({"a": values, "z": np.zeros(3, np.float16), "flag": np.array([True])}))
    found = measure(path)
    assert (found["a"].nan, found["a"].infinite, found["a"].largest) == (1, 1, 7)
    assert found["z"].all_zero
    assert not found["a"].all_zero
    assert found["flag"].largest == 1
