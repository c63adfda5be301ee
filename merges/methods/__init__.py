"""The merging methods: one file each, found by their METHOD declaration and listed here by name.

Deltas of one layer with weights and parameters come in; one delta leaves, still factored where the method allows it.
Files, adapter formats, ranks of the output and the order of layers are never looked at here.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from merges.methods.declaration import Layer, Method, Parameter, Reference, Source

__all__ = ["DEFAULT", "DEFAULT_FOR_CHECKPOINTS", "METHODS", "Layer", "Method", "Parameter", "Reference", "Source"]


def _declared() -> dict[str, Method]:
    modules = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    methods = [module.METHOD for module in modules if hasattr(module, "METHOD")]
    return {method.name: method for method in sorted(methods, key=lambda method: (method.order, method.name))}


METHODS: dict[str, Method] = _declared()

# How adapters are merged when nobody says how. On real specialists (MiniLM, r = 8, two sets of eight tasks without one
# in common) TSV-M at its automatic λ, chosen on no data, is 0.1 and 0.2 points behind the best λ of the best data-free
# method, and 2 to 3.5 points above task arithmetic and the mean; on four sets of four it is 0.2 to 1.5 behind the best
# and 1.0 to 2.3 above task arithmetic, on three pairs -0.4 to 1.7 above it (120 texts a task, so a point is within
# chance on one set). No other method is within a point on both large sets at the λ it starts from.
DEFAULT = "tsv_m"
# A singular value decomposition of every matrix of a model is dear, and task arithmetic is what most reliably beats
# the base among fine-tunes found in the wild (arXiv 2511.21437).
DEFAULT_FOR_CHECKPOINTS = "task_arithmetic"
