"""The demo's change requests: one that is sound, one that is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save_file

from hub.repos import trees
from hub.repos.models import Repo

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Proposal:
    """A change request: what it says, and whether its weights are sound."""

    title: str
    description: str
    sound: bool


PROPOSALS = (
    Proposal(
        "Say when not to use this specialist",
        "Adds a section on limits to the card. The weights stay as they are.",
        sound=True,
    ),
    Proposal(
        "Weights from my longer run",
        "Trained twice as long with half precision. The loss looked odd near the end, please check.",
        sound=False,
    ),
)


def write(proposal: Proposal, repo: Repo, folder: Path) -> Path:
    """The files a proposal changes, made from the repo's head: a longer card, or weights that overflowed."""
    folder.mkdir(parents=True)
    head = trees.resolve_commit(repo)
    if proposal.sound:
        card = trees.get_file(repo, head, "README.md").read().decode()
        limits = "\n## Limits\n\nIt knows short English texts about cloud services and nothing else.\n"
        (folder / "README.md").write_text(card + limits, encoding="utf-8")
        return folder
    tensors = load(trees.get_file(repo, head, WEIGHTS).read())
    name = next(name for name in sorted(tensors) if "lora_B" in name)
    broken = tensors[name].copy()
    broken[: max(1, broken.shape[0] // 50)] = np.nan
    save_file(tensors | {name: broken}, folder / WEIGHTS, metadata={"format": "pt"})
    return folder
