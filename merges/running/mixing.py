"""Runs a soft mixture: for every text the router's probabilities, and one pass through the experts mixed by them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file

from adapters.runtime.errors import RuntimeFault
from adapters.runtime.runtime import Runtime, encode, second_texts
from merges.running.soft import ROUTER, ROUTING

BATCH = 32
MIXTURE = "mixture"
Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Routing:
    """The router of a soft mixture: prototypes and temperature, or a matrix and a bias that were learned."""

    experts: tuple[str, ...]
    ranks: tuple[dict[str, int], ...]
    prototypes: Probabilities
    temperature: float
    learned: tuple[Probabilities, Probabilities] | None

    @classmethod
    def read(cls, folder: Path) -> Routing:
        """From a merge's folder. Raises RuntimeFault for a folder that is no soft mixture."""
        try:
            told, file = json.loads((folder / ROUTING).read_bytes()), load_file(folder / ROUTER)
            experts = told["experts"]
            both = [file[name].astype(np.float64) for name in ("weights", "bias") if name in file]
            return cls(
                tuple(str(expert["name"]) for expert in experts),
                tuple(dict(expert["ranks"]) for expert in experts),
                file["prototypes"].astype(np.float64),
                float(told["temperature"]),
                (both[0], both[1]) if len(both) == 2 else None,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RuntimeFault(f"{folder.name} is no soft mixture: {ROUTING} or {ROUTER} cannot be read.") from error

    def matrix(self) -> tuple[Probabilities, Probabilities]:
        """(W, b) of p = softmax(W·feature + b); prototypes are unit vectors over the temperature, without bias."""
        if self.learned is not None:
            return self.learned
        lengths = np.linalg.norm(self.prototypes, axis=1, keepdims=True)
        return self.prototypes / lengths / self.temperature, np.zeros(len(self.experts))


class SoftMixture:
    """A merge by soft_moe on its base. Not for use by two threads at once."""

    def __init__(self, base: Path, folder: Path, head: Path | None = None, *, threads: int = 1) -> None:
        """Load the base, the experts and the router; `head` is one of the merge's heads/*.safetensors.

        Raises RuntimeFault for a folder that is no soft mixture.
        """
        self._routing = Routing.read(folder)
        self.experts = self._routing.experts
        self._runtime = Runtime(base, threads=threads)
        self._runtime.attach(MIXTURE, folder, head)

    def probabilities(self, texts: Sequence[str], pairs: Sequence[str | None] | None = None) -> Probabilities:
        """softmax(W·feature + b), of shape (texts, experts); rows do not touch each other."""
        features = self._runtime.features(texts, pairs, normalise=True).astype(np.float64)
        weights, bias = self._routing.matrix()
        scores = features @ weights.T + bias
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        result: Probabilities = raised / raised.sum(axis=1, keepdims=True)
        return result

    def logits(
        self,
        texts: Sequence[str],
        pairs: Sequence[str | None] | None = None,
        probabilities: Probabilities | None = None,
    ) -> npt.NDArray[np.float32]:
        """The head's outputs (texts × labels) with every text's own mixture, the router's unless given."""
        shares = self.probabilities(texts, pairs) if probabilities is None else probabilities
        model, forward = self._runtime.differentiable(MIXTURE)
        second, parts = second_texts(pairs), []
        for start in range(0, len(texts), BATCH):
            part = slice(start, start + BATCH)
            batch = encode(
                self._runtime.tokenizer, list(texts[part]), second[part] if second else None, self._runtime.max_length
            )
            batch = {name: value.to(self._runtime.device) for name, value in batch.items()}
            weights = torch.tensor(shares[part], dtype=torch.float32, device=self._runtime.device)
            with torch.inference_mode(), mixed(model, weights, self._routing.ranks):
                parts.append(forward(**batch).logits.float().cpu().numpy())
        return np.concatenate(parts)


@contextmanager
def mixed(model: Any, shares: torch.Tensor, ranks: Sequence[Mapping[str, int]]) -> Iterator[None]:
    """y = W₀x + B((A x) ⊙ T·p) while inside: each expert's ranks are scaled by its share; the file holds each over T.

    `shares` is (texts, experts), `ranks` each expert's rank by module; gradients flow into the shares.
    """
    handles = []
    weights = shares * len(ranks)
    for name, module in model.named_modules():
        parts = getattr(module, "lora_A", None)
        if not parts:
            continue
        site = name.removeprefix("base_model.model.")
        widths = torch.tensor([expert.get(site, 0) for expert in ranks], device=weights.device)
        scale = weights.repeat_interleave(widths, dim=1)
        handles += [part.register_forward_hook(_scaling(scale)) for part in parts.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _scaling(scale: torch.Tensor) -> Any:
    def hook(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output * (scale[:, None, :] if output.dim() == 3 else scale)

    return hook
