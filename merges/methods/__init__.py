"""The merging methods: one file each, found by their METHOD declaration and listed here by name.

Deltas of one layer with weights and parameters come in; one delta leaves, still factored where the method allows it.
Files, adapter formats, ranks of the output and the order of layers are never looked at here.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from merges.methods.declaration import Layer, Method, Parameter, Reference, Source

__all__ = ["METHODS", "Layer", "Method", "Parameter", "Reference", "Source"]


def _declared() -> dict[str, Method]:
    modules = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    methods = [module.METHOD for module in modules if hasattr(module, "METHOD")]
    return {method.name: method for method in sorted(methods, key=lambda method: (method.order, method.name))}


METHODS: dict[str, Method] = _declared()
