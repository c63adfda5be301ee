"""Teaches the router of a soft mixture on labelled examples, through the mixture; the experts stay as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapters.runtime.batching import encode, second_texts
from adapters.runtime.examples import Example
from adapters.runtime.runtime import Runtime
from merges.running.mixing import Routing, Shares, adapted, everywhere, mixed, routed
from merges.running.report import Progress, as_json, tell
from merges.running.soft import ROUTER, ROUTING
from merges.running.writing import safetensors, stored

EPOCHS, BATCH, RATE = 6, 16, 0.05
HELD_BACK = 5


@dataclass(frozen=True)
class RoutedTask:
    """Labelled examples, and the head of the mixture (heads/*.safetensors) that answers them."""

    head: Path
    examples: Sequence[Example]


def learn_router(
    base: Path, folder: Path, tasks: Sequence[RoutedTask], progress: Progress, *, seed: int = 0
) -> dict[str, Any]:
    """Learn p = softmax(W·feature + b) by gradient through the mixed experts (Muqeeth et al. 2024); rewrite its files.

    A shared router reads the bare base's pooled feature and starts as the prototypes' router; a router for each module
    reads what comes in there and starts uniform. The epoch of the least loss on every fifth example, held back, is
    kept, so none ever does worse there than its start. Returns what routing.json then says of it: losses (nats) held
    back before and after, and the epoch kept.
    """
    training = _Training(base, folder, tasks, seed)
    best, kept, losses = training.held_back(), training.state(), []
    losses.append(best)
    chosen = 0
    for epoch in range(1, EPOCHS + 1):
        tell(progress, epoch - 1, EPOCHS, f"Teaching the router, held-back loss {losses[-1]:.3f}")
        training.epoch()
        losses.append(training.held_back())
        if losses[-1] < best:
            best, chosen, kept = losses[-1], epoch, training.state()
    told = {
        "tasks": len(tasks),  # not their names: who may read the result may not read them all
        "examples": sum(len(task.examples) for task in tasks),
        "held_back_loss": [round(loss, 6) for loss in losses],
        "epoch": chosen,
        "seed": seed,
    }
    _rewrite(folder, kept, told)
    return told


class _Training:
    """One base with the mixture attached once for each task's head, and the routers' tensors."""

    def __init__(self, base: Path, folder: Path, tasks: Sequence[RoutedTask], seed: int) -> None:
        self._runtime, self._routing = Runtime(base), Routing.read(folder)
        self._draw = np.random.Generator(np.random.PCG64(seed))
        self._parts: list[tuple[str, list[Example], torch.Tensor, torch.Tensor]] = []
        for number, task in enumerate(tasks):
            name, rows = f"task-{number}", list(task.examples)
            self._runtime.attach(name, folder, task.head)
            labels = list(self._runtime.labels(name) or sorted({row.label for row in rows}))
            pairs = [row.text_pair for row in rows]
            features = self._runtime.features([row.text for row in rows], pairs, normalise=True)
            wanted = torch.tensor([labels.index(row.label) for row in rows])
            self._parts.append((name, rows, torch.from_numpy(features).float(), wanted))
        self._tensors = self._starts()
        self._optimiser = torch.optim.Adam(list(self._tensors.values()), lr=RATE)

    def _starts(self) -> dict[str, torch.Tensor]:
        """The routers' tensors by their names in the file."""
        starts = dict(zip(("weights", "bias"), self._routing.matrix(), strict=True))
        if self._routing.per_module:
            count, sites = len(self._routing.experts), adapted(self._runtime.model(self._parts[0][0])[0])
            starts = {f"{site}.weights": np.zeros((count, width)) for site, width in sites.items()}
            starts |= {f"{site}.bias": np.zeros(count) for site in sites}
        device = self._runtime.device if self._routing.per_module else None
        return {
            name: torch.tensor(value, dtype=torch.float32, device=device, requires_grad=True)
            for name, value in sorted(starts.items())
        }

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the routers' tensors."""
        return {name: value.detach().cpu().clone() for name, value in self._tensors.items()}

    def epoch(self) -> None:
        """Every example that is not held back once, tasks in turn."""
        batches = [
            (part, chosen)
            for part, (_, rows, _, _) in enumerate(self._parts)
            for chosen in self._batches(np.array([n for n in range(len(rows)) if n % HELD_BACK], np.int64))
        ]
        for place in self._draw.permutation(len(batches)):
            part, chosen = batches[place]
            self._optimiser.zero_grad()
            tensors = list(self._tensors.values())
            for tensor, gradient in zip(tensors, torch.autograd.grad(self._loss(part, chosen), tensors), strict=True):
                tensor.grad = gradient
            self._optimiser.step()

    def held_back(self) -> float:
        """Mean cross-entropy (nats) over the examples held back, each task counting alike."""
        losses = []
        with torch.no_grad():
            for part, (_, rows, _, _) in enumerate(self._parts):
                chosen = np.arange(0, len(rows), HELD_BACK)
                pieces = [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]
                losses.append(sum(float(self._loss(part, piece)) * len(piece) for piece in pieces) / len(chosen))
        return float(np.mean(losses))

    def _batches(self, rows: Any) -> list[Any]:
        turned = self._draw.permutation(rows)
        return [turned[start : start + BATCH] for start in range(0, len(turned), BATCH)]

    def _loss(self, part: int, chosen: Any) -> torch.Tensor:
        name, rows, features, wanted = self._parts[part]
        some, device = [rows[number] for number in chosen], self._runtime.device
        pairs = second_texts([row.text_pair for row in some])
        batch = encode(self._runtime.tokenizer, [row.text for row in some], pairs, self._runtime.max_length)
        batch = {key: value.to(device) for key, value in batch.items()}
        model, forward = self._runtime.differentiable(name)
        with mixed(model, self._shares(features[chosen], batch["attention_mask"]), self._routing.ranks):
            logits = forward(**batch).logits.float().cpu()
        return torch.nn.functional.cross_entropy(logits, wanted[chosen])

    def _shares(self, features: torch.Tensor, mask: torch.Tensor) -> Shares:
        if not self._routing.per_module:
            scores = features @ self._tensors["weights"].T + self._tensors["bias"]
            return everywhere(torch.softmax(scores, dim=1).to(self._runtime.device))
        names = [name.removesuffix(".bias") for name in self._tensors if name.endswith(".bias")]
        return routed({site: (self._tensors[f"{site}.weights"], self._tensors[f"{site}.bias"]) for site in names}, mask)


def _rewrite(folder: Path, kept: Mapping[str, torch.Tensor], told: dict[str, Any]) -> None:
    """The router's file with its tensors beside the prototypes, and what is said of it."""
    import hashlib

    prototypes = Routing.read(folder).prototypes.astype(np.float32)
    tensors = {"prototypes": prototypes} | {name: value.numpy() for name, value in kept.items()}
    files = {ROUTER: safetensors({name: stored(values, "float32") for name, values in tensors.items()})}
    about = json.loads((folder / ROUTING).read_bytes()) | {"router": told}
    files[ROUTING] = (json.dumps(about, indent=2) + "\n").encode()
    report = json.loads((folder / "merge_report.json").read_bytes())
    report["router"] = told
    for name, data in files.items():
        (folder / name).write_bytes(data)
        report["outputs"][name] = hashlib.sha256(data).hexdigest()
    (folder / "merge_report.json").write_bytes(as_json(report))
