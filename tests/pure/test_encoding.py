"""The codec of predicted files: every byte back, in any range; golden vectors; recipes that lie."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.encoding import BLOCK, Damaged, Decoder, FileSources, Recipe, encode
from adapters.encoding import recipe as recipes
from adapters.encoding.numbers import WIDTHS, narrow, widen
from adapters.encoding.offers import Family, Offers, OnFamily
from adapters.encoding.ways import Cast, Lora, Mean, New, Place, Rows, Same, Scale, Sparse, Way
from adapters.formats.errors import FormatError
from adapters.formats.peft_config import parse_config
from adapters.formats.values import TensorFile

NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I8": "|i1", "I64": "<i8"}
Tensors = dict[str, tuple[str, np.ndarray]]


def stored(values: np.ndarray, dtype: str) -> bytes:
    """Values as bytes, by numpy or (bfloat16) torch."""
    with np.errstate(all="ignore"):
        if dtype == "BF16":
            single = torch.from_numpy(np.array(values, dtype=np.float32))
            return single.to(torch.bfloat16).view(torch.int16).numpy().astype("<i2").tobytes()
        return np.ascontiguousarray(values.astype(NUMPY[dtype])).tobytes()


def write(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None, pad: int = 0) -> Path:
    """A safetensors file by hand, in the order given, with a header of our own spacing."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at, bodies = 0, []
    for name, (dtype, values) in tensors.items():
        raw = stored(values, dtype)
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        bodies.append(raw)
    text = json.dumps(header).encode() + b" " * pad
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(bodies))
    return path


def round_trip(new: Path, inputs: list[Path], offered: Any, folder: Path) -> tuple[Recipe, int]:
    """Encode, decode whole and in pieces; returns the recipe and the bytes of recipe and payload."""
    out = io.BytesIO()
    recipe = encode(new, inputs, offered, out)
    payload = folder / "payload"
    payload.write_bytes(out.getvalue())
    data, whole = recipe.to_bytes(), new.read_bytes()
    with FileSources(inputs, payload) as sources:
        decoder = Decoder(data, [path.stat().st_size for path in inputs], sources)
        assert b"".join(decoder.stream(sources)) == whole
        for start in range(0, len(whole), max(1, len(whole) // 7)):
            for end in (start, start + 1, start + len(whole) // 3, len(whole) + 5):
                assert b"".join(decoder.stream(sources, start, end)) == whole[start:end]
    assert len(out.getvalue()) <= len(whole)
    return recipe, len(out.getvalue()) + len(data)


def offers_from(new: Path, inputs: list[Path], *families: tuple[int, ...], adapters: Any = ()) -> Offers:
    return Offers(new, inputs, [Family(numbers) for numbers in families], adapters)


shapes = st.lists(st.integers(0, 40), max_size=3).map(tuple)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(sorted({*NUMPY, "BF16"})), st.sampled_from(sorted({*NUMPY, "BF16"})), shapes), max_size=4),
    st.integers(0, 2**32), st.integers(0, 40), st.booleans(),
)  # fmt: skip
def test_every_byte_comes_back(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[Any], seed: int, pad: int, wild: bool
) -> None:
    folder, random = tmp_path_factory.mktemp("encoding"), np.random.default_rng(seed)
    old: Tensors = {}
    new: Tensors = {}
    for number, (before, after, shape) in enumerate(kinds):
        values = random.standard_normal(shape) * 50
        old[f"layer.{number}.weight"] = (before, values)
        edited = values + 0.01 * (random.random(shape) < 0.5)
        if wild and edited.size and after.startswith(("F", "BF")):
            edited.flat[0], edited.flat[-1] = np.nan, -np.inf
        new[f"layer.{number}.weight"] = (after, edited)
    parent = write(folder / "old", old)
    child = write(folder / "new", new, {"format": "pt", "by": "ü"}, pad)
    with offers_from(child, [parent], (0,)) as offers:
        round_trip(child, [parent], offers, folder)


@pytest.mark.parametrize("dtype", sorted(WIDTHS))
def test_one_rounding_ties_to_even(dtype: str) -> None:
    random = np.random.default_rng(1)
    values = np.concatenate([
        random.standard_normal(4000) * 10.0 ** random.integers(-45, 39, 4000),
        [0.0, -0.0, np.inf, -np.inf, 1e400, 5e-324, 65504.0, 65520.0, 3.3895313892515355e38],
        1 + np.arange(64) * 2.0**-9 + 2.0**-40,  # just above a tie of bfloat16: float32 alone would round it twice
        1 + np.arange(64) * 2.0**-9 - 2.0**-40,
    ])  # fmt: skip
    if dtype == "BF16":
        exact = np.asarray([_nearest_bfloat(value) for value in values], np.uint16).tobytes()
    else:
        exact = stored(values, dtype)
    assert narrow(values, dtype).tobytes() == exact
    assert narrow(widen(exact, dtype), dtype).tobytes() == exact
    assert np.isnan(widen(narrow(np.array([-np.nan]), dtype).tobytes(), dtype))[0]


def _nearest_bfloat(value: float) -> int:
    """Found by comparison, not by bits: the nearest of three neighbours, the even one of two equally near."""
    near = int(np.float64(value).astype(np.float32).view(np.uint32)) >> 16
    if not np.isfinite(value):
        return near
    best = None
    for code in {near, near + 1, max(near - 1, near & 0x8000)}:
        other = float(np.asarray([code << 16], np.uint32).view(np.float32)[0])
        if np.isinf(other):
            other = float(np.copysign(2.0**128, other))
        key = (abs(other - value), code & 1)
        if not np.isnan(other) and (best is None or key < best[0]):
            best = (key, code)
    assert best is not None
    return best[1]


def test_what_is_unchanged_or_known_costs_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    big, small = random.standard_normal((700, 500)), random.standard_normal(9)
    parent = write(tmp_path / "a", {"model.big": ("F32", big), "model.small": ("F32", small)}, {"format": "pt"})
    other = write(tmp_path / "b", {"model.big": ("F32", big + 0.1), "model.small": ("F32", small)})
    low = write(tmp_path / "low", {"big": ("BF16", np.float32(big)), "small": ("BF16", np.float32(small))})
    with offers_from(low, [parent], (0,)) as offers:
        recipe, cost = round_trip(low, [parent], offers, tmp_path)
    assert {type(way) for way in recipe.ways} == {Cast} and cost < 500  # renamed, and in another type
    mean = (0.3 * np.float32(big).astype(float) + 0.7 * np.float32(big + 0.1).astype(float)).astype(np.float32)
    both = write(tmp_path / "mean", {"model.big": ("F32", mean), "model.small": ("F32", small)}, {"format": "pt"})
    with offers_from(both, [parent, other], (0,), (1,)) as offers:
        recipe, cost = round_trip(both, [parent, other], offers, tmp_path)
    assert isinstance(recipe.ways[0], Mean) and [weight for _, weight in recipe.ways[0].parts] == [0.3, 0.7]
    assert isinstance(recipe.ways[1], Same) and isinstance(recipe.head_way, Same) and cost < 400
    kept = np.concatenate([big[:1], big[100:], big[:3] + 5])
    trimmed = write(tmp_path / "rows", {"model.big": ("F32", kept), "model.small": ("F32", small)})
    with offers_from(trimmed, [parent], (0,)) as offers:
        recipe, cost = round_trip(trimmed, [parent], offers, tmp_path)
    assert isinstance(recipe.ways[0], Rows) and recipe.ways[0].runs == ((1, 0), (600, 100), (3, -1))
    assert cost < 3 * 500 * 4 + 500


LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["query"], "base_model_name_or_path": "a/b"}


@pytest.mark.parametrize(("dtype", "rounding"), [("F32", "once"), ("F16", "once"), ("BF16", "both"), ("BF16", "base")])
def test_an_adapter_on_a_base(tmp_path: Path, dtype: str, rounding: str) -> None:
    random = np.random.default_rng(3)
    weight = np.float32(random.standard_normal((300, 200)) * 0.05)
    left, right = (np.float32(random.standard_normal(shape) * 0.02) for shape in ((300, 4), (4, 200)))
    base = write(
        tmp_path / "base", {"bert.layer.0.query.weight": ("F32", weight), "bert.layer.0.x": ("F32", weight[0])}
    )
    adapter = write(tmp_path / "adapter", {
        "base_model.model.layer.0.query.lora_A.weight": ("F32", right), "base_model.model.layer.0.query.lora_B.weight": ("F32", left),
    })  # fmt: skip
    start = weight.astype(float)
    update = sum(left[:, [k]].astype(float) * right[k].astype(float) for k in range(4)) * 2.0

    def rounded(values: np.ndarray) -> np.ndarray:
        return widen(narrow(values.ravel(), dtype).tobytes(), dtype).reshape(values.shape)

    if rounding != "once":
        start = rounded(start)
    if rounding == "both":
        update = rounded(update)
    merged = rounded(start + update)
    new = write(tmp_path / "new", {"layer.0.query.weight": (dtype, merged), "layer.0.x": (dtype, weight[0])})
    config = parse_config(json.dumps(LORA).encode())
    with offers_from(new, [base, adapter], (0,), adapters=[OnFamily(1, config, 0)]) as offers:
        recipe, cost = round_trip(new, [base, adapter], offers, tmp_path)
    assert isinstance(recipe.ways[0], Lora) and recipe.ways[0].rounding == rounding
    assert cost < 600


def test_ia3_multiplies_rows_or_columns(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    weight, bias = (np.float32(random.standard_normal(shape)) for shape in ((60, 40), (60,)))
    rows, columns = (np.float32(1 + 0.1 * random.standard_normal(size)) for size in (60, 40))
    base = write(tmp_path / "base", {
        "0.key.weight": ("F32", weight), "0.key.bias": ("F32", bias), "0.ff.weight": ("F32", weight)})  # fmt: skip
    adapter = write(
        tmp_path / "adapter",
        {"base_model.model.0.key.ia3_l": ("F32", rows[:, None]), "base_model.model.0.ff.ia3_l": ("F32", columns[None])},
    )
    new = write(tmp_path / "new", {
        "0.key.weight": ("F32", weight * rows[:, None]), "0.key.bias": ("F32", bias * rows),
        "0.ff.weight": ("F32", weight * columns)})  # fmt: skip
    config = parse_config(json.dumps({
        "peft_type": "IA3", "target_modules": ["key", "ff"], "feedforward_modules": ["ff"],
        "base_model_name_or_path": "a/b"}).encode())  # fmt: skip
    with offers_from(new, [base, adapter], (0,), adapters=[OnFamily(1, config, 0)]) as offers:
        recipe, _cost = round_trip(new, [base, adapter], offers, tmp_path)
    assert [type(way) for way in recipe.ways] == [Scale] * 3 and not any(recipe.lengths[1:])


def test_large_tensors_in_blocks_and_sparse_positions(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    values = np.float32(random.standard_normal((3, BLOCK // 4 + 17)))
    at = np.sort(random.choice(values.size, 500, replace=False))
    changed = values.copy()
    changed.flat[at] = 9.0
    base = write(tmp_path / "base", {"w": ("F32", values)})
    update = write(tmp_path / "update", {"w.indices": ("I64", at), "w.values": ("F32", np.full(500, 9.0))})
    new = write(tmp_path / "new", {"w": ("F32", changed)})
    with TensorFile(update) as opened:
        head = opened.header
    places = [head.data_start + head.tensors[f"w.{part}"].begin for part in ("indices", "values")]
    with TensorFile(base) as opened:
        origin = opened.header.data_start
    way = Sparse(Same(0, origin), 1, *places, 500)
    recipe, _cost = round_trip(new, [base, update], lambda info: [way], tmp_path)
    assert recipe.ways == (way,) and not any(recipe.lengths[1:]) and len(recipe.lengths) == 5
    noise = write(tmp_path / "noise", {"w": ("I8", np.frombuffer(random.bytes(BLOCK + 5), np.int8))})
    recipe, cost = round_trip(noise, [], lambda info: [], tmp_path)
    assert cost < noise.stat().st_size + 300  # what cannot be made smaller is never made larger


# --- golden vectors: what was written by version 1 is read by every later one --------------------------------------------

GOLDEN = Path(__file__).parent / "golden_encoding.json"


def golden_inputs(folder: Path) -> list[Path]:
    """Inputs made of whole numbers alone, so that no library's random numbers matter."""
    grid = (np.arange(24 * 16) * 37 % 101 - 50) / 64
    base = {"0.q.weight": ("F32", grid.reshape(24, 16)), "0.k.weight": ("F32", grid[::-1].reshape(24, 16))}
    base |= {"emb": ("F16", grid[:96].reshape(12, 8)), "0.b": ("BF16", grid[:24])}
    other = {name: (dtype, values + (np.arange(values.size) % 7).reshape(values.shape) / 128)
             for name, (dtype, values) in base.items()}  # fmt: skip
    adapter = {
        "A": ("F32", (np.arange(32) % 9 - 4).reshape(2, 16) / 13),
        "B": ("BF16", (np.arange(48) % 5).reshape(24, 2) / 11),
    }
    adapter |= {
        "l": ("F32", 1 + np.arange(24) / 97),
        "at": ("I64", np.array([0, 3, 23])),
        "x": ("BF16", np.array([1.0, 2, 3])),
    }
    return [write(folder / name, tensors) for name, tensors in (("base", base), ("other", other), ("adapter", adapter))]


def golden_ways(inputs: list[Path]) -> dict[str, Way]:
    places: list[dict[str, Place]] = []
    for number, path in enumerate(inputs):
        with TensorFile(path) as opened:
            start = opened.header.data_start
            places.append(
                {name: Place(number, start + info.begin, info.dtype) for name, info in opened.header.tensors.items()}
            )
    base, other, adapter = places
    ways: dict[str, Way] = {
        "new": New(), "same": Same(0, base["0.q.weight"].offset), "cast": Cast(base["emb"]),
        "rows": Rows(0, base["emb"].offset, ((2, 9), (1, -1), (5, 1))),
        "mean": Mean(((base["0.k.weight"], 0.3), (other["0.k.weight"], 0.7))),
        "scale": Scale(base["0.q.weight"], adapter["l"], 0), "sparse": Sparse(
            Same(0, base["0.b"].offset), 2, adapter["at"].offset, adapter["x"].offset, 3),
    }  # fmt: skip
    for rounding in ("once", "base", "both"):
        ways[f"lora-{rounding}"] = Lora(base["0.q.weight"], adapter["B"], adapter["A"], 2, 1 / 3, False, rounding)
    return ways


KINDS = {"new": ("I8", (5,)), "same": ("F32", (24, 16)), "cast": ("BF16", (12, 8)), "rows": ("F16", (8, 8)),
         "mean": ("F32", (24, 16)), "scale": ("F16", (24, 16)), "sparse": ("BF16", (24,)), "lora-once": ("F32", (24, 16)),
         "lora-base": ("F16", (24, 16)), "lora-both": ("BF16", (24, 16))}  # fmt: skip


def test_golden_vectors(tmp_path: Path) -> None:
    """Recipe and payload in, the file's sha256 out, for every way at once. A change here is a loss of stored files."""
    inputs, golden = golden_inputs(tmp_path), json.loads(GOLDEN.read_text())
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs] == golden["inputs"]
    payload = tmp_path / "payload"
    payload.write_bytes(bytes.fromhex(golden["payload"]))
    with FileSources(inputs, payload) as sources:
        decoder = Decoder(bytes.fromhex(golden["recipe"]), [path.stat().st_size for path in inputs], sources)
        assert {type(way).name for way in decoder.recipe.ways} == {name.partition("-")[0] for name in KINDS}
        assert hashlib.sha256(b"".join(decoder.stream(sources))).hexdigest() == golden["sha256"]


# --- recipes that lie ----------------------------------------------------------------------------------------------------


@pytest.fixture
def sound(tmp_path: Path) -> tuple[Recipe, list[Path], Path]:
    base = write(tmp_path / "base", {"w": ("F32", np.arange(60.0).reshape(6, 10))})
    new = write(tmp_path / "new", {"w": ("F32", np.arange(60.0).reshape(6, 10) + 0.5)})
    out = io.BytesIO()
    with offers_from(new, [base], (0,)) as offers:
        recipe = encode(new, [base], offers, out)
    (tmp_path / "payload").write_bytes(out.getvalue())
    return recipe, [base], tmp_path / "payload"


def opened(recipe: bytes, inputs: list[Path], payload: Path, sizes: list[int] | None = None) -> bytes:
    with FileSources(inputs, payload) as sources:
        decoder = Decoder(recipe, sizes or [path.stat().st_size for path in inputs], sources)
        return b"".join(decoder.stream(sources))


@pytest.mark.parametrize("way", [
    Same(0, 10**9), Same(1, 0), Same(0, -1), Cast(Place(0, 0, "I8")), Cast(Place(0, 900, "F32")), Rows(0, 80, ((7, 0),)),
    Rows(0, 80, ((6, 5),)), Rows(0, 80, ((0, 0), (6, 0))), Mean(()), Mean(((Place(0, 80, "F32"), float("nan")),)),
    Lora(Place(0, 80, "F32"), Place(0, 0, "F32"), Place(0, 0, "F32"), 10**6, 1.0, False, "once"),
    Lora(Place(0, 80, "F32"), Place(0, 0, "F32"), Place(0, 0, "F32"), 1, float("inf"), False, "once"),
    Lora(Place(0, 80, "F32"), Place(0, 0, "F32"), Place(0, 0, "F32"), 1, 1.0, False, "up"),
    Scale(Place(0, 80, "F32"), Place(0, 0, "F32"), 2), Sparse(Same(0, 80), 0, 0, 0, 61), Sparse(Same(0, 80), 0, 300, 0, 9),
])  # fmt: skip
def test_ways_that_cannot_be_true(sound: tuple[Recipe, list[Path], Path], way: Way) -> None:
    recipe, inputs, payload = sound
    with pytest.raises(FormatError, match="cannot be true|no recipe"):
        opened(replace(recipe, ways=(way,)).to_bytes(), inputs, payload)


def test_recipes_that_lie(sound: tuple[Recipe, list[Path], Path]) -> None:
    recipe, inputs, payload = sound
    data = recipe.to_bytes()
    whole = opened(data, inputs, payload)
    assert len(whole) == recipe.size
    lies = [
        b"", data[:7], b"XXXX" + data[4:], data + b"x", data[:-8],
        data[:8] + zstandard.ZstdCompressor().compress(b"[" * 100_000) + data[-16:],
        data[:4] + (20).to_bytes(4, "little") + zstandard.ZstdCompressor().compress(bytes(recipes.MAX_JSON_BYTES + 1)),
    ]  # fmt: skip
    for changed in (
        replace(recipe, size=recipe.size + 1), replace(recipe, head=recipe.head - 1), replace(recipe, inputs=2),
        replace(recipe, ways=()), replace(recipe, ways=recipe.ways * 2), replace(recipe, head_way=Same(0, 10**9)),
        replace(recipe, lengths=(*recipe.lengths, 0), checks=recipe.checks + bytes(8)),
        replace(recipe, lengths=(recipe.lengths[0], 10**12)), replace(recipe, lengths=(recipe.lengths[0], -1)),
    ):  # fmt: skip
        lies.append(changed.to_bytes())
    for lie in lies:
        with pytest.raises((FormatError, Damaged)):
            opened(lie, inputs, payload)
    with pytest.raises(FormatError, match="another number of inputs"):
        opened(data, inputs, payload, [1, 2])


def test_changed_bytes_are_never_handed_out(sound: tuple[Recipe, list[Path], Path]) -> None:
    recipe, inputs, payload = sound
    good, base = payload.read_bytes(), inputs[0].read_bytes()
    for at in range(len(good)):
        payload.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        with pytest.raises((Damaged, FormatError)):
            opened(recipe.to_bytes(), inputs, payload)
    payload.write_bytes(good)
    inputs[0].write_bytes(base[:-1] + b"\xff")
    with pytest.raises(Damaged):
        opened(recipe.to_bytes(), inputs, payload)
    inputs[0].write_bytes(base[:-20])
    with pytest.raises(Damaged):
        opened(recipe.to_bytes(), inputs, payload, [len(base)])
    payload.write_bytes(good[:-1])
    inputs[0].write_bytes(base)
    with pytest.raises(Damaged):
        opened(recipe.to_bytes(), inputs, payload)


def test_a_block_that_swells_is_refused() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(50 << 20))
    with pytest.raises(Damaged):
        recipes.unpack(bomb, BLOCK, 4)
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(BLOCK))
    with pytest.raises(Damaged):
        recipes.unpack(unsized, BLOCK, 4)


if __name__ == "__main__":  # writes the golden vectors of a new version: never those of a version that stores files
    import tempfile

    folder = Path(tempfile.mkdtemp())
    inputs = golden_inputs(folder)
    content = {
        name: (dtype, (np.arange(int(np.prod(shape))) % 23 - 11).reshape(shape) / 16)
        for name, (dtype, shape) in KINDS.items()
    }
    new, out, ways = write(folder / "new", content), io.BytesIO(), golden_ways(inputs)
    recipe = encode(new, inputs, lambda info: [], out)
    # each block is stored as what its way leaves, whether or not that is the shortest
    lengths, body = [recipe.lengths[0]], [out.getvalue()[: recipe.lengths[0]]]
    with TensorFile(new) as file, FileSources(inputs) as sources:
        for info in file.header.tensors.values():
            raw = np.frombuffer(b"".join(file.raw_chunks(info.name)), np.uint8)
            left = raw ^ ways[info.name].predict(info, 0, info.nbytes, sources, {})
            body.append(recipes.pack(left, max(1, info.nbytes // info.count)))
            lengths.append(len(body[-1]))
    made = replace(recipe, ways=tuple(ways[name] for name in KINDS), lengths=tuple(lengths))
    GOLDEN.write_text(json.dumps({
        "inputs": [hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs], "recipe": made.to_bytes().hex(),
        "payload": b"".join(body).hex(), "sha256": hashlib.sha256(new.read_bytes()).hexdigest(),
    }, indent=1) + "\n")  # fmt: skip
