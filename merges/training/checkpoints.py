"""A training in the middle, as bytes: safetensors with its story in the metadata, never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from adapters.runtime.examples import Example
from merges.training.settings import CurvePoint, Settings


@dataclass
class Standing:
    """Where one descent stands after an epoch; everything that decides how it goes on."""

    epoch: int = 0
    step: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    best: CurvePoint | None = None
    trained: list[torch.Tensor] = field(default_factory=list)
    kept: list[torch.Tensor] = field(default_factory=list)
    optimiser: dict[str, torch.Tensor] = field(default_factory=dict)
    order: Any = None
    generator: torch.Tensor | None = None


@dataclass
class Checkpoint:
    """A whole training: whose it is, the curves of finished folds, and the descent that was going on.

    `seconds` are those spent before, `batch_size` the one in use (it may have been made smaller for lack of memory),
    `evened` the layers that were made to attend evenly before it all.
    """

    of: str
    batch_size: int
    seconds: float = 0.0
    evened: int = 0
    folds: list[list[CurvePoint]] = field(default_factory=list)
    standing: Standing | None = None

    def to_bytes(self) -> bytes:
        """One safetensors file."""
        tensors: dict[str, torch.Tensor] = {}
        story: dict[str, Any] = {
            "of": self.of, "batch_size": self.batch_size, "seconds": self.seconds, "evened": self.evened,
            "folds": [[asdict(point) for point in curve] for curve in self.folds], "standing": None,
        }  # fmt: skip
        if self.standing is not None:
            standing = self.standing
            story["standing"] = {
                "epoch": standing.epoch, "step": standing.step, "curve": [asdict(point) for point in standing.curve],
                "best": asdict(standing.best) if standing.best else None, "order": standing.order,
            }  # fmt: skip
            for name, values in (("trained", standing.trained), ("kept", standing.kept)):
                tensors |= {f"{name}.{number}": tensor for number, tensor in enumerate(values)}
            tensors |= {f"optimiser.{name}": tensor for name, tensor in standing.optimiser.items()}
            if standing.generator is not None:
                tensors["generator"] = standing.generator
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        return save(plain or {"empty": torch.zeros(1)}, metadata={"story": json.dumps(story)})


def read_checkpoint(data: bytes | None, of: str) -> Checkpoint | None:
    """The checkpoint if these bytes are one of the training `of`, else None: then the training begins anew."""
    if not data:
        return None
    try:
        tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        story = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["story"])
        if story["of"] != of:
            return None
        made = Checkpoint(of, int(story["batch_size"]), float(story["seconds"]), int(story["evened"]))
        made.folds = [_points(curve) for curve in story["folds"]]
        if story["standing"]:
            made.standing = _standing(story["standing"], tensors)
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None
    return made


def identity(
    settings: Settings, examples: Sequence[Example], validation: Sequence[Example], labels: Sequence[str], base: str
) -> str:
    """A hash of everything that decides a training: a checkpoint of another one is never gone on with."""
    rows = [[(row.text, row.text_pair, row.label) for row in part] for part in (examples, validation)]
    text = json.dumps([settings.to_dict(), rows, list(labels), base], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's state by parameter number and name."""
    state = optimiser.state_dict()["state"]
    return {f"{number}.{name}": torch.as_tensor(value) for number, one in state.items() for name, value in one.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put back what `optimiser_tensors` took."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _standing(story: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Standing:
    version, numbers, gauss = story["order"]
    return Standing(
        epoch=story["epoch"], step=story["step"], curve=_points(story["curve"]),
        best=CurvePoint(**story["best"]) if story["best"] else None,
        trained=_listed(tensors, "trained"), kept=_listed(tensors, "kept"),
        optimiser={name.removeprefix("optimiser."): t for name, t in tensors.items() if name.startswith("optimiser.")},
        order=(version, tuple(numbers), gauss), generator=tensors.get("generator"),
    )  # fmt: skip


def _listed(tensors: dict[str, torch.Tensor], name: str) -> list[torch.Tensor]:
    count = sum(key.startswith(f"{name}.") for key in tensors)
    return [tensors[f"{name}.{number}"] for number in range(count)]


def _points(raw: list[dict[str, Any]]) -> list[CurvePoint]:
    return [CurvePoint(**point) for point in raw]
