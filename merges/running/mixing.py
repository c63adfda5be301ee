"""Runs a soft mixture: for every text the router's probabilities, and one pass through the experts mixed by them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file

from adapters.runtime.batching import encode, second_texts
from adapters.runtime.errors import RuntimeFault
from adapters.runtime.runtime import Runtime
from merges.running.soft import ROUTER, ROUTING

BATCH = 32
MIXTURE, PREFIX = "mixture", "base_model.model."
Probabilities = npt.NDArray[np.float64]
Shares = Callable[[str, torch.Tensor], torch.Tensor]
"""The experts' shares (texts, experts) at one module, by its name and what comes in (texts, tokens, inputs)."""
Matrices = Mapping[str, tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Routing:
    """The router of a soft mixture: prototypes and temperature, or a matrix and a bias that were learned.

    With routers `per_module` there is a matrix and a bias for each module by its name, none before they are taught.
    """

    experts: tuple[str, ...]
    ranks: tuple[dict[str, int], ...]
    prototypes: Probabilities
    temperature: float
    learned: tuple[Probabilities, Probabilities] | None
    per_module: bool = False
    modules: Mapping[str, tuple[Probabilities, Probabilities]] = field(default_factory=dict)

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
                told.get("routers") == "per_module",
                {
                    name.removesuffix(".weights"): (
                        file[name].astype(np.float64),
                        file[f"{name.removesuffix('.weights')}.bias"].astype(np.float64),
                    )
                    for name in sorted(file)
                    if name.endswith(".weights")
                },
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
        """softmax(W·feature + b), of shape (texts, experts); rows do not touch each other.

        With a router for each module the mean of what they say.
        """
        if self._routing.per_module:
            said = list(self.module_probabilities(texts, pairs).values())
            mean: Probabilities = np.mean(said, axis=0, dtype=np.float64)
            return mean
        features = self._runtime.features(texts, pairs, normalise=True).astype(np.float64)
        weights, bias = self._routing.matrix()
        scores = features @ weights.T + bias
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        result: Probabilities = raised / raised.sum(axis=1, keepdims=True)
        return result

    def module_probabilities(
        self, texts: Sequence[str], pairs: Sequence[str | None] | None = None
    ) -> dict[str, Probabilities]:
        """What each module's own router says, (texts, experts) by its name; each reads what the mixture feeds it."""
        model, forward = self._runtime.differentiable(MIXTURE)
        said: dict[str, list[Probabilities]] = {}
        for batch, _ in self._batches(texts, pairs):
            shares = routed(self._matrices(), batch["attention_mask"])

            def noted(site: str, values: torch.Tensor, shares: Shares = shares) -> torch.Tensor:
                found = shares(site, values)
                said.setdefault(site, []).append(found.double().cpu().numpy())
                return found

            with torch.inference_mode(), mixed(model, noted, self._routing.ranks):
                forward(**batch)
        return {site: np.concatenate(parts) for site, parts in sorted(said.items())}

    def _matrices(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Each module's router as tensors; zeros, so that all experts count alike, where it was not taught."""
        result, count = {}, len(self.experts)
        for site, width in adapted(self._runtime.model(MIXTURE)[0]).items():
            weights, bias = self._routing.modules.get(site, (np.zeros((count, width)), np.zeros(count)))
            result[site] = tuple(
                torch.tensor(values, dtype=torch.float32, device=self._runtime.device) for values in (weights, bias)
            )
        return result  # type: ignore[return-value]

    def _batches(
        self, texts: Sequence[str], pairs: Sequence[str | None] | None
    ) -> Iterator[tuple[dict[str, torch.Tensor], slice]]:
        second = second_texts(pairs)
        for start in range(0, len(texts), BATCH):
            part = slice(start, start + BATCH)
            batch = encode(
                self._runtime.tokenizer, list(texts[part]), second[part] if second else None, self._runtime.max_length
            )
            yield {name: value.to(self._runtime.device) for name, value in batch.items()}, part

    def logits(
        self,
        texts: Sequence[str],
        pairs: Sequence[str | None] | None = None,
        probabilities: Probabilities | None = None,
    ) -> npt.NDArray[np.float32]:
        """The head's outputs (texts × labels) with every text's own mixture, the router's unless given."""
        given = probabilities
        if given is None and not self._routing.per_module:
            given = self.probabilities(texts, pairs)
        model, forward = self._runtime.differentiable(MIXTURE)
        parts = []
        for batch, part in self._batches(texts, pairs):
            if given is None:
                shares: Shares = routed(self._matrices(), batch["attention_mask"])
            else:
                shares = everywhere(torch.tensor(given[part], dtype=torch.float32, device=self._runtime.device))
            with torch.inference_mode(), mixed(model, shares, self._routing.ranks):
                parts.append(forward(**batch).logits.float().cpu().numpy())
        return np.concatenate(parts)


def everywhere(shares: torch.Tensor) -> Shares:
    """The same shares at every module."""
    return lambda _site, _values: shares


def routed(matrices: Matrices, mask: torch.Tensor) -> Shares:
    """softmax(W·x̄ + b) by each module's own router, x̄ the mean of its inputs over a text's tokens, of length one."""

    def shares(site: str, values: torch.Tensor) -> torch.Tensor:
        weights, bias = matrices[site]
        if values.dim() == 3:
            counted = mask.to(values.dtype)[:, :, None]
            values = (values * counted).sum(1) / counted.sum(1).clamp(min=1)
        return torch.softmax(torch.nn.functional.normalize(values, dim=1) @ weights.T + bias, dim=1)

    return shares


def adapted(model: Any) -> dict[str, int]:
    """Every adapted linear module and how many inputs it has."""
    return {
        name.removeprefix(PREFIX): next(iter(module.lora_A.values())).in_features
        for name, module in model.named_modules()
        if getattr(module, "lora_A", None)
    }


@contextmanager
def mixed(model: Any, shares: Shares, ranks: Sequence[Mapping[str, int]]) -> Iterator[None]:
    """y = W₀x + B((A x) ⊙ T·p) while inside: each expert's ranks are scaled by its share; the file holds each over T.

    `ranks` is each expert's rank by module; gradients flow into the shares.
    """
    handles = []
    for name, module in model.named_modules():
        parts = getattr(module, "lora_A", None)
        if not parts:
            continue
        site = name.removeprefix(PREFIX)
        widths = torch.tensor([expert.get(site, 0) for expert in ranks])
        handles += [part.register_forward_hook(_scaling(site, shares, widths)) for part in parts.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _scaling(site: str, shares: Shares, widths: torch.Tensor) -> Any:
    def hook(_module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        weights = shares(site, inputs[0]) * len(widths)
        scale = weights.repeat_interleave(widths.to(weights.device), dim=1)
        return output * (scale[:, None, :] if output.dim() == 3 else scale)

    return hook
