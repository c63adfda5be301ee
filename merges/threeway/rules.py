"""What to do where both sides changed the same thing: patterns over names in order, the first match counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from merges.methods import METHODS, Method
from merges.methods.declaration import Statistic, shown

TAKE = {
    "ours": "Keep the target's version",
    "theirs": "Take the proposed version",
    "original": "Go back to the version both began with",
}
MEASURED: tuple[Statistic, ...] = ("fisher",)
"""Statistics a strategy may need of both sides."""
MOST_RULES = 100
MOST_PATTERN = 200


class RuleError(Exception):
    """A rule cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Rule:
    """`match` is a glob over names of tensors, modules or files. `strategy` takes a side or names a merge method.

    `ours` and `theirs` weigh the two changes, `parameters` are the method's.
    """

    match: str = "*"
    strategy: str = "mean"
    ours: float = 1.0
    theirs: float = 1.0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> Method | None:
        """The merge method; None if the rule takes one side."""
        return METHODS.get(self.strategy)

    def as_words(self) -> str:
        """One line for a commit message."""
        if self.strategy in TAKE:
            return f"{self.match}: {self.strategy}"
        words = f"{self.match}: {self.strategy}, target {self.ours:g}, proposed {self.theirs:g}"
        return words + "".join(f", {name} {value}" for name, value in self.parameters.items())


def strategies(measured: Collection[Statistic] = ()) -> dict[str, str]:
    """Name → title of everything a rule can say where both sides have these statistics beside their weights.

    Methods that need more than the changes and those statistics (data, a router) are out.
    """
    methods = {name: method.title for name, method in METHODS.items() if _suits(method, measured)}
    return TAKE | methods


def needed(rules: Sequence[Rule]) -> set[Statistic]:
    """The statistics that rules need of both sides."""
    return {kind for rule in rules if rule.method for kind in rule.method.needs}


def _suits(method: Method, measured: Collection[Statistic]) -> bool:
    alone = not (method.needs_base or set(method.needs) - set(measured) or method.searched or method.routed)
    return alone and method.inputs_minimum <= 2 <= (method.inputs_maximum or 2)


def default_rules() -> list[Rule]:
    """The mean of both changes."""
    return [Rule()]


def parse_rules(raw: Any) -> list[Rule]:
    """Rules from JSON: a list of {match, strategy, ours, theirs, parameters}. Raises RuleError."""
    if not isinstance(raw, list) or not raw or len(raw) > MOST_RULES:
        raise RuleError(f"Give a list of 1 to {MOST_RULES} rules.")
    return [_parsed(entry, number) for number, entry in enumerate(raw, 1)]


def _parsed(entry: Any, number: int) -> Rule:
    known = {"match", "strategy", "ours", "theirs", "parameters"}
    if not isinstance(entry, Mapping) or set(entry) - known:
        raise RuleError(f"Rule {number} may have {', '.join(sorted(known))} and nothing else.")
    match, strategy = entry.get("match", "*"), entry.get("strategy", "mean")
    if not isinstance(match, str) or not 0 < len(match) <= MOST_PATTERN:
        raise RuleError(f"Rule {number}: match must be a pattern of 1 to {MOST_PATTERN} letters.")
    known_strategies = strategies(MEASURED)
    if not isinstance(strategy, str) or strategy not in known_strategies:
        raise RuleError(f"Rule {number}: there is no strategy {shown(strategy)}. Known: {', '.join(known_strategies)}.")
    weights = [entry.get(side, 1.0) for side in ("ours", "theirs")]
    if not all(_is_weight(weight) for weight in weights):
        raise RuleError(f"Rule {number}: the weights must be numbers from -100 to 100.")
    parameters = entry.get("parameters", {})
    if not isinstance(parameters, Mapping):
        raise RuleError(f"Rule {number}: parameters must map names to values.")
    rule = Rule(match, strategy, float(weights[0]), float(weights[1]), dict(parameters))
    _check_method(rule, number)
    return rule


def _is_weight(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) <= 100


def _check_method(rule: Rule, number: int) -> None:
    if rule.method is None:
        if rule.parameters:
            raise RuleError(f"Rule {number}: {rule.strategy} has no parameters.")
        return
    try:
        rule.method.filled(rule.parameters, 2)
    except ValueError as error:
        raise RuleError(f"Rule {number}: {error}") from error
    if rule.strategy == "mean" and rule.ours + rule.theirs == 0:
        raise RuleError(f"Rule {number}: the weights of a mean may not add up to zero.")


def rule_for(rules: Sequence[Rule], name: str) -> Rule:
    """The first rule whose pattern matches a name; the default where none does."""
    return next((rule for rule in rules if fnmatchcase(name, rule.match)), Rule())
