"""A recipe's text or dictionary to a checked `Recipe`; everything wrong is named at once."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from merges.methods import DEFAULT, DEFAULT_FOR_CHECKPOINTS, METHODS, Method
from merges.methods.declaration import shown
from merges.methods.spaces import SPACES
from merges.recipes.mergekit import is_mergekit, translated
from merges.recipes.reading import NO_MAPPING, read_text
from merges.recipes.schema import (
    DTYPES,
    FORMS,
    HEADS,
    SUM_OF_RANKS,
    WHOLE,
    Base,
    Input,
    Output,
    Problem,
    Recipe,
    RecipeError,
    Select,
    key_shown,
)

MAX_INPUTS = 256
MAX_RANK = 4096
MAX_NAME = 300
MAX_BUDGET = 1 << 50
MAX_PROBLEMS = 50
_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse(data: Mapping[str, Any] | str) -> Recipe:
    """Check a recipe (YAML text or dictionary, ours or mergekit's) and fill in every default, the method's too.

    Raises RecipeError with all problems found: unknown keys by name, unknown methods, values out of range or not
    finite, inputs that are missing or too many.
    """
    raw = read_text(data) if isinstance(data, str) else data
    if not isinstance(raw, Mapping):
        raise RecipeError([Problem("recipe", "error", NO_MAPPING)])
    return _Parser().recipe(translated(raw) if is_mergekit(raw) else raw)


def _default(inputs: Any) -> str:
    """The method of a recipe that names none."""
    entries = inputs if isinstance(inputs, list) else []
    whole = any(isinstance(entry, Mapping) and "model" in entry for entry in entries)
    return DEFAULT_FOR_CHECKPOINTS if whole else DEFAULT


class _Parser:
    """Collects problems while it reads, so that one look shows all of them; after MAX_PROBLEMS it stops reading."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def recipe(self, raw: Mapping[str, Any]) -> Recipe:
        """The recipe, or RecipeError if anything was wrong."""
        self.known("recipe", raw, ("merge_method", "base", "inputs", "parameters", "space", "select", "output"))
        method = self.method(raw.get("merge_method", _default(raw.get("inputs"))))
        base = self.base(raw.get("base"))
        inputs = self.inputs(raw.get("inputs"), method)
        parameters = self.parameters(raw.get("parameters"), method, len(inputs))
        space = self.choice("space", raw.get("space", "dense"), SPACES)
        if space != "dense" and method is not None and not method.projects:
            entrywise = ", ".join(name for name, one in METHODS.items() if one.projects)
            self.error("space", f"{method.title} does not work entry by entry, so it has no space. Use {entrywise}.")
        select = self.select(raw.get("select"), method)
        whole = any(entry.whole for entry in inputs)
        output = self.output(raw.get("output"), method, whole)
        if (whole or output.form == "checkpoint") and base is None:
            self.error("base", "Say which base these are made from: base: {model: owner/name}.")
        if self.problems or method is None:
            raise RecipeError(self.problems)
        return Recipe(method.name, inputs, parameters, output, base, space, select)

    def method(self, name: Any) -> Method | None:
        """The method's declaration."""
        if isinstance(name, str) and name in METHODS:
            return METHODS[name]
        self.error("merge_method", f"There is no method {shown(name)}. Choose one of {', '.join(METHODS)}.")
        return None

    def base(self, raw: Any) -> Base | None:
        """The base, given as a name or as model and revision."""
        if raw is None:
            return None
        entry = self.mapping("base", {"model": raw} if isinstance(raw, str) else raw, ("model", "revision"))
        revision = self.text("base.revision", entry.get("revision"), True)
        return Base(self.text("base.model", entry.get("model")) or "", revision)

    def inputs(self, raw: Any, method: Method | None) -> tuple[Input, ...]:
        """The inputs in their order; a bare name is an adapter with weight 1."""
        if not isinstance(raw, list) or not raw:
            self.error("inputs", "inputs is missing or empty. List at least two adapters.")
            return ()
        if len(raw) > MAX_INPUTS:
            self.error("inputs", f"{len(raw)} inputs; at most {MAX_INPUTS} can be merged at once.")
            return ()
        return tuple(self.input(f"inputs[{position}]", entry, method) for position, entry in enumerate(raw))

    def input(self, place: str, raw: Any, method: Method | None) -> Input:
        """One input; settings the method allows per input stand beside the weight."""
        per_input = [parameter for parameter in method.parameters if parameter.per_input] if method else []
        known = ("adapter", "model", "revision", "sha256", "weight", *(parameter.name for parameter in per_input))
        entry = self.mapping(place, {"adapter": raw} if isinstance(raw, str) else raw, known if method else None)
        whole = "model" in entry
        if whole and "adapter" in entry:
            self.error(place, f"{place} names both an adapter and a model. Give one of them.")
        sha256 = self.text(f"{place}.sha256", entry.get("sha256"), True)
        if sha256 is not None and not _SHA256.fullmatch(sha256):
            self.error(f"{place}.sha256", "sha256 must be the 64 hexadecimal digits of adapter_model.safetensors.")
        own = {parameter.name: entry[parameter.name] for parameter in per_input if parameter.name in entry}
        for parameter in per_input:
            if parameter.name in own and (problem := parameter.problem(own[parameter.name])):
                self.error(f"{place}.{parameter.name}", problem)
                del own[parameter.name]
        own = {name: float(value) for name, value in own.items()}
        key = "model" if whole else "adapter"
        return Input(
            adapter=self.text(f"{place}.{key}", entry.get(key)) or "",
            revision=self.text(f"{place}.revision", entry.get("revision"), True),
            sha256=sha256,
            weight=self.number(f"{place}.weight", entry.get("weight", 1.0)),
            parameters=own,
            whole=whole,
        )

    def parameters(self, raw: Any, method: Method | None, inputs: int) -> dict[str, Any]:
        """The method's parameters, defaults filled in."""
        given = self.mapping("parameters", {} if raw is None else raw, None)
        if method is None:
            return {}
        known = [parameter.name for parameter in method.parameters]
        self.known("parameters", given, known)
        good = {}
        for name in known:
            parameter = method.parameter(name)
            if name not in given or parameter is None:
                continue
            if problem := parameter.problem(given[name]):
                self.error(f"parameters.{name}", problem)
            else:
                good[name] = given[name]
        return method.filled(good, inputs)

    def select(self, raw: Any, method: Method | None) -> Select | None:
        """What to choose parameters or weights on."""
        if raw is None:
            if method is not None and method.searched:
                message = (
                    f"{method.title} looks for its weights on a few examples: add select: {{tasks: [owner/task]}}."
                )
                self.error("select", message)
            return None
        entry = self.mapping("select", raw, ("tasks", "grid", "split", "examples"))
        tasks = entry.get("tasks")
        if not isinstance(tasks, list) or not tasks or not all(isinstance(task, str) for task in tasks):
            self.error("select.tasks", "select.tasks must list the tasks to choose on.")
            tasks = []
        if entry.get("split", "validation") == "test":
            self.error("select.split", "Nothing is chosen on the test split, which must stay unseen. Use validation.")
        split = self.choice("select.split", entry.get("split", "validation"), ("validation", "train", "test"))
        examples = entry.get("examples", 256)
        if type(examples) is not int or not 1 <= examples <= 10_000:
            self.error("select.examples", "select.examples must be a whole number from 1 to 10000.")
        return Select(tuple(tasks), self.grid(entry.get("grid"), method), split, examples)

    def grid(self, raw: Any, method: Method | None) -> dict[str, tuple[float, ...]]:
        """The values to try, at most 64 combinations."""
        given, result = self.mapping("select.grid", {} if raw is None else raw, None), {}
        for name, values in given.items():
            parameter = method.parameter(name) if method else None
            if parameter is None or parameter.kind == "choice":
                self.error(f"select.grid.{key_shown(name)}", f"{shown(name)} is no number this method has.")
            elif not isinstance(values, list) or not values:
                self.error(f"select.grid.{name}", f"select.grid.{name} must be a list of values to try.")
            elif problem := next(filter(None, map(parameter.problem, values)), None):
                self.error(f"select.grid.{name}", problem)
            else:
                kind = int if parameter.kind == "int" else float
                result[name] = tuple(kind(value) for value in values if value != "auto")
        if math.prod(len(values) for values in result.values()) > 64:
            self.error("select.grid", "The grid has more than 64 combinations. Try fewer values.")
        return result

    def output(self, raw: Any, method: Method | None, whole: bool) -> Output:
        """The output; without a form, exact where the method stays factored, else the sum of the inputs' ranks."""
        known = ("form", "rank", "energy", "max_bytes", "dtype", "heads")
        entry = self.mapping("output", {} if raw is None else raw, known)
        exact = method is None or method.exact_on_lora
        usual = "checkpoint" if whole else "rank" if not exact else "exact"
        named = [form for form, key in (("rank", "rank"), ("energy", "energy"), ("bytes", "max_bytes")) if key in entry]
        form = self.choice("output.form", entry.get("form", named[0] if named else usual), FORMS)
        if form == "stacked" and not exact:
            self.error("output.form", f"{method and method.name} has no factors to stack. Choose rank or exact.")
        if whole and form not in WHOLE:
            self.error(
                "output.form", "A whole checkpoint among the inputs makes a checkpoint or a delta, not an adapter."
            )
        if method is not None and method.routed and form != "stacked":
            form = "stacked" if "form" not in entry and not named else form
            if form != "stacked":
                self.error("output.form", f"{method.title} keeps its experts side by side. Remove output.form.")
        rank = entry.get("rank", SUM_OF_RANKS if form == "rank" else None)
        if form != "rank" and rank is not None:
            self.error("output.rank", f"rank has no meaning with form {form}. Remove it or set form to rank.")
        elif form == "rank" and rank != SUM_OF_RANKS and (type(rank) is not int or not 1 <= rank <= MAX_RANK):
            self.error("output.rank", f"rank must be a whole number from 1 to {MAX_RANK} or sum, not {shown(rank)}.")
        energy, most = entry.get("energy"), entry.get("max_bytes")
        if (form == "energy") != (energy is not None) or (energy is not None and not _share(energy)):
            self.error("output.energy", "form energy needs energy: a number above 0 and at most 1, such as 0.99.")
        if (form == "bytes") != (most is not None) or (most is not None and not _budget(most)):
            sentence = f"form bytes needs max_bytes: a whole number of bytes, at most {MAX_BUDGET}."
            self.error("output.max_bytes", sentence)
        return Output(
            form=form,
            rank=rank,
            energy=float(energy) if energy is not None and _share(energy) else None,
            max_bytes=most if _budget(most) else None,
            dtype=self.choice("output.dtype", entry.get("dtype", "float32"), DTYPES),
            heads=self.choice("output.heads", entry.get("heads", "keep"), HEADS),
        )

    def mapping(self, place: str, raw: Any, known: Collection[str] | None) -> dict[str, Any]:
        """`raw` if it is a mapping of known keys."""
        if not isinstance(raw, Mapping):
            self.error(place, f"{place} must be a mapping of names to values, not {shown(raw)}.")
            return {}
        if known is not None:
            self.known(place, raw, known)
        return dict(raw)

    def known(self, place: str, raw: Mapping[Any, Any], known: Collection[str]) -> None:
        """Name every key that means nothing here."""
        for key in raw:
            if key not in known:
                listed = ", ".join(known) or "none"
                self.error(f"{place}.{key_shown(key)}", f"{shown(key)} is not known in {place}. Known: {listed}.")

    def text(self, place: str, raw: Any, optional: bool = False) -> str | None:
        """A short text."""
        if raw is None and optional:
            return None
        if not isinstance(raw, str) or not raw.strip() or len(raw) > MAX_NAME or not raw.isprintable():
            self.error(place, f"{place} must be a text of at most {MAX_NAME} letters, not {shown(raw)}.")
            return None
        return raw.strip()

    def number(self, place: str, raw: Any) -> float:
        """A finite number of sensible size."""
        if isinstance(raw, bool) or not isinstance(raw, int | float) or not abs(raw) <= 1000:
            self.error(place, f"{place} must be a finite number between -1000 and 1000, not {shown(raw)}.")
            return 0.0
        return float(raw)

    def choice(self, place: str, raw: Any, choices: tuple[str, ...]) -> str:
        """One of a few words."""
        if raw not in choices:
            self.error(place, f"{place} must be one of {', '.join(choices)}, not {shown(raw)}.")
            return choices[0]
        return str(raw)

    def error(self, place: str, message: str) -> None:
        """Note a problem. Raises RecipeError once there are too many to read on."""
        self.problems.append(Problem(place, "error", message))
        if len(self.problems) >= MAX_PROBLEMS:
            message = f"These are the first {MAX_PROBLEMS} problems; there may be more. Mend them and look again."
            raise RecipeError([*self.problems, Problem("recipe", "error", message)])


def _budget(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_BUDGET


def _share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
