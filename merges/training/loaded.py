"""A base loaded once and handed out as many models: folds, trials and trainings one after another share its weights."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import torch

from adapters.runtime.bases import Family, family_of, load_model, load_tokenizer
from adapters.runtime.errors import RuntimeFault
from adapters.runtime.quiet import quiet_and_offline

HEADS = ("classifier", "score")


class LoadedBase:
    """Tokenizer and frozen weights of one base; not for use by two threads at once."""

    def __init__(self, folder: Path) -> None:
        """Read the tokenizer; weights are read when first asked for. Raises RuntimeFault for a base without one."""
        self.folder = folder
        self.family: Family = family_of(folder)
        if self.family == "seq2seq":
            raise RuntimeFault("Encoder-decoder bases are judged here but not taught yet. Train the adapter elsewhere.")
        self.tokenizer = load_tokenizer(folder)
        self._plain: Any = None
        self._labels: int | None = None

    @property
    def causal(self) -> bool:
        """Whether the base continues texts (else it reads them whole and gets a head)."""
        return self.family == "causal"

    @property
    def plain(self) -> Any:
        """The frozen base itself, once a model was asked for; to be read, never to be changed."""
        return self._plain

    def model(self, labels: int) -> Any:
        """A model of its own to train on: the frozen weights are shared, the head (encoders) is new, by torch's seed.

        Raises RuntimeFault.
        """
        wanted = None if self.causal else labels
        if self._plain is None or self._labels != wanted:
            self._plain = None
            with quiet_and_offline(), torch.random.fork_rng(devices=[]):
                self._plain = load_model(self.folder, labels=wanted, pad=self.tokenizer.pad_token_id)
            self._labels = wanted
        shared = itertools.chain(self._plain.parameters(), self._plain.buffers())
        made = copy.deepcopy(self._plain, {id(tensor): tensor for tensor in shared})
        if wanted is not None:
            _new_heads(made)
        return made


def _new_heads(model: Any) -> None:
    """Give the model's head parameters of its own, initialised as the architecture does."""
    for name in HEADS:
        head = getattr(model, name, None)
        if head is None:
            continue
        own = copy.deepcopy(head)
        with torch.no_grad():
            for module in own.modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.normal_(0.0, float(getattr(model.config, "initializer_range", 0.02)))
                    if module.bias is not None:
                        module.bias.zero_()
        setattr(model, name, own)
