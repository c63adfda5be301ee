"""Hold the libraries' chatter, progress bars and network in check while a model is handled."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import huggingface_hub.constants
import torch
import transformers


@contextmanager
def quiet_and_offline() -> Iterator[None]:
    """Silence transformers and peft and forbid the Hub for the time of the block; the earlier state is put back."""
    bars = transformers.utils.logging.is_progress_bar_enabled()
    verbosity = transformers.utils.logging.get_verbosity()
    peft_logger = logging.getLogger("peft")
    peft_level = peft_logger.level
    offline = huggingface_hub.constants.HF_HUB_OFFLINE
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    peft_logger.setLevel(logging.ERROR)
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = offline
        peft_logger.setLevel(peft_level)
        transformers.utils.logging.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()


def choose_device(wanted: str | None = None) -> torch.device:
    """The device asked for, else CUDA when this machine has it, else CPU."""
    if wanted:
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
