"""Compares what is inside two sides, tensor by tensor and update by update, with numbers and not only names.

Local safetensors files (with an adapter's configuration where there is one) come in; manifests, lists of changes, a
heat map's layout and plain sentences leave.
Nothing is loaded whole, nothing is written, and no claim is made about what a change means for the model's behaviour.
"""

from adapters.diffs.changes import TensorChange
from adapters.diffs.compare import VERSION, compare
from adapters.diffs.manifest import manifest
from adapters.diffs.sides import Side
from adapters.diffs.summary import summary, warnings

__all__ = ["VERSION", "Side", "TensorChange", "compare", "manifest", "summary", "warnings"]
