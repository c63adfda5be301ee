"""Multinomial logistic regression on given features: the linear probe, and a head's warm start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def fit_linear(
    features: np.ndarray,
    targets: Sequence[int],
    classes: int,
    *,
    strength: float = 1.0,
    weights: np.ndarray | None = None,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (classes, features) and bias (classes,) that minimise strength * sum of losses + |weights|^2 / 2.

    The convex problem scikit-learn's LogisticRegression(C=strength) solves (the bias is not punished), by L-BFGS from
    zero (or from `start`, an earlier answer), hence without randomness. `weights` are factors of the examples' losses.
    """
    x = torch.as_tensor(np.asarray(features, dtype=np.float64))
    y = torch.as_tensor(np.asarray(targets, dtype=np.int64))
    factors = (
        torch.ones(len(y), dtype=torch.float64) if weights is None else torch.as_tensor(weights, dtype=torch.float64)
    )
    first = start or (np.zeros((classes, x.shape[1])), np.zeros(classes))
    matrix, bias = (torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in first)
    solver = torch.optim.LBFGS(
        [matrix, bias], max_iter=300, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        solver.zero_grad()
        each = torch.nn.functional.cross_entropy(x @ matrix.T + bias, y, reduction="none")
        value = strength * (each * factors).sum() + matrix.pow(2).sum() / 2
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(loss)
    return matrix.detach().numpy(), bias.detach().numpy()


def choose_strength(
    train: tuple[np.ndarray, Sequence[int]],
    validation: tuple[np.ndarray, Sequence[int]],
    classes: int,
    candidates: Sequence[float] = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
) -> float:
    """The candidate with the best validation accuracy; the strongest regularisation wins a tie."""
    best, chosen = -1.0, candidates[0]
    for strength in candidates:
        matrix, bias = fit_linear(train[0], train[1], classes, strength=strength)
        accuracy = float(np.mean(np.argmax(validation[0] @ matrix.T + bias, axis=1) == np.asarray(validation[1])))
        if accuracy > best:
            best, chosen = accuracy, strength
    return chosen
