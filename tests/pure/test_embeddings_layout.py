"""The drawing: near ones near, equal for equal input, and nobody moves when somebody comes."""

import numpy as np
import pytest

from adapters.embeddings.declaration import unit
from adapters.embeddings.layout import lay_into, lay_out


def groups(each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(3, 24))
    rows = np.concatenate([centre + 0.2 * chance.normal(size=(each, 24)) for centre in centres])
    return unit(rows), np.repeat(np.arange(3), each)


@pytest.mark.parametrize("each", [2, 6])
def test_groups_stay_together(each: int) -> None:
    vectors, group = groups(each)
    points = lay_out(vectors)
    assert points.shape == (3 * each, 2) and np.abs(points).max() <= 1 + 1e-9
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (group[distances.argmin(1)] == group).mean() > 0.9
    assert np.array_equal(points, lay_out(vectors))


def test_few_points_are_drawn_too() -> None:
    for count in (0, 1, 2, 3):
        points = lay_out(unit(np.eye(4)[: count or 1]))[:count] if count else lay_out(np.zeros((0, 4)))
        assert points.shape == (count, 2) and np.isfinite(points).all()
    assert np.isfinite(lay_out(np.ones((5, 4)) / 2)).all(), "equal vectors"


def test_a_new_point_goes_to_its_like_and_a_new_drawing_starts_from_the_old() -> None:
    vectors, group = groups(6)
    points = lay_out(vectors)
    x, y = lay_into(vectors[0], vectors[1:], points[1:], seed=1)
    near = np.linalg.norm(points[1:] - [x, y], axis=1).argmin()
    assert group[1:][near] == group[0] and max(abs(x), abs(y)) <= 1
    assert (
        lay_into(vectors[0], vectors[1:], points[1:], seed=1)
        == (x, y)
        != lay_into(vectors[0], vectors[1:], points[1:], seed=2)
    )
    assert np.hypot(*lay_into(vectors[0], np.zeros((0, 24)), np.zeros((0, 2)))) <= 0.03
    again = lay_out(vectors, points)
    assert np.corrcoef(again[:, 0], points[:, 0])[0, 1] > 0.5
