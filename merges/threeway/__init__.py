"""MERGES two versions of the same weights, tensor by tensor, from the version both began with.

Three sides as local files come in, with rules that say what to do where both changed the same thing; a preview with
numbers, and merged files, leave. A tensor that only one side changed keeps that side's bytes; the two factors of a LoRA
update are never merged apart from each other. Nothing is committed here, and nobody's rights are known.
"""

from merges.threeway.rules import MEASURED, Rule, RuleError, default_rules, needed, parse_rules, strategies
from merges.threeway.units import ThreeWay, Unit, opened
from merges.threeway.writing import Result, index, write

__all__ = ["MEASURED", "Result", "Rule", "RuleError", "ThreeWay", "Unit", "default_rules", "index", "needed", "opened",
           "parse_rules", "strategies", "write"]  # fmt: skip
