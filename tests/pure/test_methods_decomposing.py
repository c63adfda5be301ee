"""The decomposition by chunks, on torch's CPU device, against numpy; and what happens when a device's memory runs out.

There is no GPU where these tests run: the allocator's error is raised at the one place where rows are sent to a device.
"""

from typing import Any

import numpy as np
import pytest
import torch

from merges.methods import METHODS, Layer, Source, decomposing
from merges.methods.deltas import Dense, dense, svd


def matrix(rows: int, columns: int, rank: int) -> np.ndarray:
    random = np.random.default_rng(rows * columns)
    left, right = random.normal(size=(rows, rank)), random.normal(size=(rank, columns))
    return (left @ np.diag(np.logspace(0, -3, rank)) @ right).astype(np.float32)


@pytest.mark.parametrize("shape", [(50, 20), (20, 50), (33, 33)])
@pytest.mark.parametrize("rows", [7, 1000])
def test_chunks_give_what_numpy_gives(shape: tuple[int, int], rows: int) -> None:
    values = matrix(*shape, rank=12)
    found = decomposing.by_chunks(values, "cpu", rows)
    assert found is not None
    u, sigma, vt = found
    expected = np.linalg.svd(values.astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(sigma[:12], expected[:12], rtol=1e-6)
    np.testing.assert_allclose(u * sigma @ vt, values, atol=1e-5)
    np.testing.assert_allclose(u[:, :12].T @ u[:, :12], np.eye(12), atol=1e-6)


def test_nothing_is_decomposed_to_nothing() -> None:
    found = decomposing.by_chunks(np.zeros((9, 4), np.float32), "cpu")
    assert found is not None
    assert (found[0].shape, found[1].shape, found[2].shape) == ((9, 0), (0,), (0, 4))


class SmallMemory:
    """Stands where rows are sent to a device, and refuses more than so many, as its allocator would."""

    def __init__(self, most: int) -> None:
        self.most, self.sizes, self.send = most, list[int](), decomposing.sent

    def __call__(self, part: np.ndarray, device: str) -> Any:
        self.sizes.append(len(part))
        if len(part) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory (raised by a test).")
        return self.send(part, "cpu")


def test_an_injected_lack_of_memory_halves_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SmallMemory(150)
    monkeypatch.setattr(decomposing, "sent", memory)
    values = matrix(900, 20, rank=6)
    found = decomposing.by_chunks(values, "cpu")
    assert found is not None
    np.testing.assert_allclose(found[0] * found[1] @ found[2], values, atol=1e-5)
    assert memory.sizes[:4] == [900, 450, 225, 112]


def test_after_the_last_halving_the_processor_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole method, as if there were a device whose memory is full: the same result as without one."""
    deltas = [matrix(300, 280, rank=5), matrix(300, 281, rank=5)[:, :280]]
    method = METHODS["tsv_m"]
    parameters = method.filled({}, 2)
    layer = Layer("q", (300, 280), tuple(Source(Dense(one), 1.0, str(n)) for n, one in enumerate(deltas)))
    expected = dense(method.run(layer, parameters))
    memory = SmallMemory(0)
    monkeypatch.setattr(decomposing, "sent", memory)
    monkeypatch.setattr(decomposing, "accelerator", lambda: "cpu")
    np.testing.assert_array_equal(dense(method.run(layer, parameters)), expected)
    assert decomposing.FEWEST_ROWS in memory.sizes


def test_a_method_on_a_device_agrees_with_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Layer("q", (300, 280), (Source(Dense(matrix(300, 280, rank=40)), 1.0, "a"),))
    parameters = METHODS["iso_c"].filled({}, 1)
    expected = dense(METHODS["iso_c"].run(layer, parameters))
    monkeypatch.setattr(decomposing, "accelerator", lambda: "cpu")
    on_device = dense(METHODS["iso_c"].run(layer, parameters))
    assert np.linalg.norm(on_device - expected) < 1e-5 * np.linalg.norm(expected)
    assert svd(Dense(matrix(300, 280, rank=40)))[1].size == 40
