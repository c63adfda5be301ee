"""Compares two safetensors files tensor by tensor, with numbers and not only names.

Two local paths come in; a list of changes and one plain sentence leave.
Nothing is loaded whole, nothing is written, and no claim is made about what the change means for the model's behaviour.
"""

from adapters.diffs.compare import TensorChange, compare
from adapters.diffs.summary import summary

__all__ = ["TensorChange", "compare", "summary"]
