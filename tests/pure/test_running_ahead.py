"""Files read in ranges: the bytes are those of the file whatever is asked, in bounded memory, and lies are noticed."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from adapters.formats.errors import FormatError
from adapters.formats.values import TensorFile
from merges.recipes import parse
from merges.running import LocalAdapter, ahead, run
from merges.running.ahead import Budget, Remote
from tests.pure.test_running_checkpoints import fine_tune, save_base

SIZES = {"a": 40, "b": 60, "c": 3000, "d": 10, "e": 900, "f": 1, "g": 700}


class Elsewhere:
    """Bytes that are somewhere else; counts what is asked for."""

    def __init__(self, data: bytes) -> None:
        self.data, self.asked, self.lock = data, [], threading.Lock()
        self.ranges: list[tuple[int, int]] = []

    def __call__(self, start: int, target: memoryview) -> None:
        with self.lock:
            self.ranges.append((start, len(target)))
        target[:] = self.data[start : start + len(target)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    save_file({name: draw.standard_normal((size, 4), np.float32) for name, size in SIZES.items()}, tmp_path / "f")
    return tmp_path / "f"


def small_parts(patch: pytest.MonkeyPatch, size: int = 4096) -> None:
    patch.setattr(ahead, "SMALLEST", size)
    patch.setattr(ahead, "LARGEST", size)


def remote(path: Path, budget: Budget, **hashes: str) -> tuple[Remote, Elsewhere]:
    elsewhere = Elsewhere(path.read_bytes())
    return Remote(len(elsewhere.data), elsewhere, budget, hashes), elsewhere


@settings(max_examples=40)
@given(asked=st.lists(st.tuples(st.sampled_from(sorted(SIZES)), st.floats(0, 1), st.floats(0, 1)), max_size=20))
def test_any_rows_in_any_order(tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, float, float]]) -> None:
    path = tmp_path_factory.mktemp("any") / "f"
    draw = np.random.default_rng(0)
    tensors = {name: draw.standard_normal((size, 4), np.float32) for name, size in SIZES.items()}
    save_file(tensors, path)
    budget = Budget(files=1)
    with pytest.MonkeyPatch.context() as patch:
        small_parts(patch)
        with TensorFile(remote(path, budget)[0]) as opened:
            for name, one, other in asked:
                start, stop = sorted((int(one * SIZES[name]), int(other * SIZES[name])))
                out = np.empty((stop - start, 4), np.float32)
                opened.fill_rows(name, start, out)
                assert np.array_equal(out, tensors[name][start:stop])
    budget.close()


def test_forward_reading_asks_for_every_byte_once_and_keeps_few(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_parts(monkeypatch)
    budget = Budget(files=1)
    source, elsewhere = remote(file, budget)
    with TensorFile(source) as opened:
        head = opened.header.data_start
        before = len(elsewhere.ranges)
        for name in sorted(SIZES):
            for chunk in opened.raw_chunks(name, 256):
                assert chunk
                assert sum(len(part.result()) for part in source._parts.values()) <= budget.kept * 4096 + head
    budget.close()
    asked = elsewhere.ranges[before:]
    assert sum(length for _, length in asked) == len(elsewhere.data)
    assert max(length for _, length in asked) <= 4096


def test_a_few_rows_of_a_large_tensor_take_no_whole_part_along(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_parts(monkeypatch)
    budget = Budget(files=1)
    source, elsewhere = remote(file, budget)
    with TensorFile(source) as opened:
        elsewhere.ranges.clear()
        for row in (700, 1500, 2400):
            opened.fill_rows("c", row, np.empty((2, 4), np.float32))
        assert [length for _, length in elsewhere.ranges] == [32, 32, 32]
    budget.close()


def test_threads_read_what_one_would(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_parts(monkeypatch)
    tensors, budget = load_file(file), Budget(files=1, threads=4)
    with TensorFile(remote(file, budget)[0]) as opened, ThreadPoolExecutor(4) as pool:

        def whole(name: str) -> bool:
            out = np.empty((SIZES[name], 4), np.float32)
            for start in range(0, SIZES[name], 16):
                opened.fill_rows(name, start, out[start : start + 16])
            return np.array_equal(out, tensors[name])

        assert all(pool.map(whole, sorted(SIZES) * 5))
    budget.close()


def test_memory_is_shared_by_all_files() -> None:
    for files in (1, 5, 40, 257):
        budget = Budget(files, threads=2)
        assert budget.part * budget.kept * files <= max(budget.total, ahead.SMALLEST * budget.kept * files)
        assert budget.part <= ahead.LARGEST
        budget.close()


def test_a_changed_tensor_is_noticed_and_a_sound_one_is_not(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_parts(monkeypatch)
    budget = Budget(files=1)
    known = {name: hashlib.sha256(values.tobytes()).hexdigest() for name, values in load_file(file).items()}

    def read(source: Remote, name: str) -> None:
        with TensorFile(source) as opened:
            opened.fill_rows(name, 7, np.empty((1, 4), np.float32))  # out of turn: says nothing of the rest
            for _ in range(2):
                for _chunk in opened.raw_chunks(name, 100):
                    pass

    for name in ("c", "g"):
        read(remote(file, budget, **known)[0], name)
        source, elsewhere = remote(file, budget, **known)
        with TensorFile(file) as opened:
            at = opened.header.data_start + opened.header.tensors[name].end - 1
        elsewhere.data = elsewhere.data[:at] + bytes([elsewhere.data[at] ^ 1]) + elsewhere.data[at + 1 :]
        with pytest.raises(FormatError, match="not what they were"):
            read(source, name)
        read(Remote(source.size, elsewhere, budget, {}), name)  # without a hash nobody can tell
    budget.close()


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "iso_c"])
def test_a_merge_out_of_ranges_gives_the_same_bytes(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch, 1024)
    base = save_base(tmp_path / "base")
    folders = [base, *(fine_tune(tmp_path / f"t{n}", base, n) for n in (1, 2))]
    recipe = parse({"merge_method": method, "base": "a/0", "inputs": [{"model": "a/1"}, {"model": "a/2"}]})
    near = [LocalAdapter(f"a/{n}", folder) for n, folder in enumerate(folders)]
    run(recipe, near[1:], tmp_path / "near", lambda *_: None, base=near[0])
    budget, far, sources = Budget(files=3), [], []
    for number, folder in enumerate(folders):
        source, elsewhere = remote(folder / "model.safetensors", budget)
        sources.append(elsewhere)
        (folder / "model.safetensors").unlink()
        far.append(LocalAdapter(f"a/{number}", folder, f"{number:064x}", remote={"model.safetensors": source}))
    run(recipe, far[1:], tmp_path / "far", lambda *_: None, base=far[0])
    budget.close()
    names = ["model.safetensors", "config.json", "recipe.yaml"]
    assert all((tmp_path / "near" / name).read_bytes() == (tmp_path / "far" / name).read_bytes() for name in names)
    assert all(source.ranges for source in sources)
