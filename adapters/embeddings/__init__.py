"""Places tasks and adapters among each other: examples, weights or a probe's gradients come in; vectors leave.

Each method is one file that declares itself (METHOD): what it needs, what question it answers, and its reference.
Never here: Django, the network, whose repo it is, or a comparison of vectors from two different encoders.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from adapters.embeddings.declaration import EmbeddingFault, Material, Method, Placed

__all__ = ["EmbeddingFault", "Material", "Method", "Placed", "methods"]


def methods() -> dict[str, Method]:
    """Every declared method by name, in the order of lists. Importing them loads torch, so only workers call this."""
    modules = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    found = [module.METHOD for module in modules if hasattr(module, "METHOD")]
    return {method.name: method for method in sorted(found, key=lambda method: (method.order, method.name))}
