"""Whether a recipe's inputs can be merged at all, from stored facts and before any computing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from merges.recipes.schema import Problem, Recipe

Facts = Mapping[str, Any]
Known = Sequence[tuple[int, Facts]]

# Which axes of a tensor do not depend on the adapter's rank, so must agree between inputs; None means all of them.
_FIXED_AXES: tuple[tuple[str, int | None], ...] = (
    (".lora_A.weight", 1),
    (".lora_B.weight", 0),
    (".lora_B.bias", None),
    (".lora_embedding_A", 1),
    (".lora_embedding_B", 0),
    (".ia3_l", None),
)
# peft saves the embedding below an adapted one beside it; it was not trained, so the merge needs no copy.
_FROZEN_COPY = ".base_layer.weight"
_MERGEABLE = ("LORA", "IA3")


def lint(recipe: Recipe, facts_by_input: Sequence[Facts | None]) -> list[Problem]:
    """What speaks against running this recipe; errors forbid it, warnings and infos do not.

    `facts_by_input` are the facts of `adapters.formats.inspect_adapter` in the order of the recipe's inputs, None
    where they are not known; `sha256` (of the weights), `labels` and a resolved `base_model` may be added to them.
    """
    known = [(position, facts) for position, facts in enumerate(facts_by_input) if facts]
    problems = list(_count(recipe))
    problems += _twice(recipe, known)
    adapters = [(position, facts) for position, facts in known if not recipe.inputs[position].whole]
    for position, facts in adapters:
        problems += _alone(recipe, position, facts)
    for rule in (_bases, _kinds, _vectors, _shapes, _modules, _heads, _statistics):
        problems += rule(recipe, adapters)
    problems += _wholes(recipe, known)
    return problems


def _count(recipe: Recipe) -> Iterator[Problem]:
    count, method = len(recipe.inputs), recipe.declared
    if count < 2:
        yield Problem("inputs", "error", "A merge needs at least two inputs. Add another adapter.")
    elif count < method.inputs_minimum or (method.inputs_maximum is not None and count > method.inputs_maximum):
        yield Problem("inputs", "error", f"{method.title} merges exactly {method.inputs_minimum} inputs, not {count}.")
    weights = [entry.weight for entry in recipe.inputs]
    if method.name in ("mean", "regmean") and not sum(weights):
        yield Problem("inputs", "error", "The weights add up to zero, so there is no mean. Change a weight.")
    elif not any(weights):
        yield Problem("inputs", "warning", "Every weight is zero, so the result will change nothing.")


def _alone(recipe: Recipe, position: int, facts: Facts) -> Iterator[Problem]:
    """What is wrong with one input whatever the others are."""
    name, place = recipe.inputs[position].adapter, f"inputs[{position}]"
    kind, method = str(facts.get("peft_type", "")), str(facts.get("method") or facts.get("peft_type"))
    if kind and kind not in _MERGEABLE:
        yield Problem(
            place,
            "error",
            f"{name} is a {method} adapter. Prompts are read by position, so merging two of them means nothing; "
            "choose LoRA or IA3 adapters.",
        )
        return
    if method.startswith("DoRA"):
        yield Problem(
            place,
            "error",
            f"{name} is a DoRA adapter: its update depends on the base's own weights. Convert it to plain LoRA "
            "and upload that.",
        )
    values = facts.get("values") or {}
    if values.get("nan") or values.get("infinite"):
        yield Problem(place, "error", f"{name} holds values that are NaN or infinite. Train it again.")
    pinned, stored = recipe.inputs[position].sha256, facts.get("sha256")
    if pinned and stored and pinned != stored:
        yield Problem(place, "error", f"The weights of {name} are not the ones this recipe names. Pin its revision.")
    yield from _strange_tensors(name, place, facts)


def _statistics(recipe: Recipe, known: Known) -> Iterator[Problem]:
    """Statistics the method needs and an input has not published; and what a soft mixture cannot hold."""
    method = recipe.declared
    if recipe.parameters.get("router") == "per_module" and recipe.select is None:
        sentence = (
            "Routers for each module have to be taught: add select: {tasks: [owner/task]}, or set router: shared."
        )
        yield Problem("parameters.router", "error", sentence)
    for position, facts in known:
        name, place = recipe.inputs[position].adapter, f"inputs[{position}]"
        missing = [kind for kind in method.needs if kind not in facts.get("statistics", method.needs)]
        if missing:
            yield Problem(
                place,
                "error",
                f"{name} has no {' and no '.join(missing)} statistics for its present weights, which {method.title} "
                "needs. Its owner can publish them from /merge/statistics; or choose another method.",
            )
        if method.routed and (str(facts.get("peft_type", "LORA")) != "LORA" or _has_bias(facts)):
            yield Problem(place, "error", f"{name} is not a plain LoRA adapter, which {method.title} needs.")
        if method.routed and not recipe.inputs[position].weight:
            yield Problem(place, "error", f"{name} has weight 0. Remove it: a mixture of experts has no silent ones.")


def _has_bias(facts: Facts) -> bool:
    return any(str(tensor).endswith(".lora_B.bias") for tensor, _, _ in facts.get("tensors") or [])


def _wholes(recipe: Recipe, known: Known) -> Iterator[Problem]:
    """Whole checkpoints: methods that cannot take them, and tensors whose sizes differ."""
    wholes = [(position, facts) for position, facts in known if recipe.inputs[position].whole]
    method = recipe.declared
    if (wholes or recipe.whole) and (method.needs or method.searched):
        sentence = f"{method.title} merges adapters into an adapter. For whole checkpoints choose another method."
        yield Problem("merge_method", "error", sentence)
    if recipe.whole and recipe.space != "dense":
        yield Problem("space", "error", "A whole checkpoint is merged in its own space. Remove space.")
    if recipe.whole and recipe.output.heads == "mean":
        yield Problem("output.heads", "error", "Heads are kept beside a whole checkpoint. Set heads to keep.")
    seen: dict[str, tuple[int, list[int]]] = {}
    for position, facts in wholes:
        for tensor, _, shape in facts.get("tensors") or []:
            other, expected = seen.setdefault(tensor, (position, list(shape)))
            if list(shape) != expected:
                first, second = recipe.inputs[other].adapter, recipe.inputs[position].adapter
                yield Problem(
                    f"inputs[{position}]",
                    "error",
                    f"{tensor} has size {expected} in {first} and {list(shape)} in {second}. "
                    "They were made from different bases or vocabularies.",
                )
                return
    if recipe.whole and recipe.output.dtype != "float32":
        sentence = (
            f"Rounding the result to {recipe.output.dtype} loses a part of a small merge; the report says how much."
        )
        yield Problem("output.dtype", "info", sentence)


def _strange_tensors(name: str, place: str, facts: Facts) -> Iterator[Problem]:
    heads = [str(head["module"]) for head in facts.get("heads") or []]
    for tensor, _, _ in facts.get("tensors") or []:
        part = next((ending for ending, _ in _FIXED_AXES if tensor.endswith(ending)), None)
        ours = "lora_magnitude_vector" in tensor or tensor.endswith(_FROZEN_COPY)
        if part is None and not ours and not any(f".{head}." in tensor for head in heads):
            yield Problem(
                place,
                "error",
                f"{name} also replaces {tensor} of the base, which has no update to merge. Train it with bias='none' "
                "and without extra tokens.",
            )
            return


def _twice(recipe: Recipe, known: Known) -> Iterator[Problem]:
    hashes = {position: facts.get("sha256") for position, facts in known}
    for one, other in combinations(range(len(recipe.inputs)), 2):
        first, second = recipe.inputs[one], recipe.inputs[other]
        named = (first.adapter.casefold(), first.revision) == (second.adapter.casefold(), second.revision)
        if named or (hashes.get(one) and hashes.get(one) == hashes.get(other)):
            both = f"{first.adapter} and {second.adapter} hold the same weights"
            same = f"{first.adapter} is there twice" if named else both
            yield Problem(f"inputs[{other}]", "error", f"{same}. Give one of them a larger weight instead.")


def _bases(recipe: Recipe, known: Known) -> Iterator[Problem]:
    bases = {position: str(facts["base_model"]) for position, facts in known if facts.get("base_model")}
    if recipe.base is not None:
        for position, base in bases.items():
            if base.casefold() != recipe.base.model.casefold():
                name = recipe.inputs[position].adapter
                sentence = f"{name} was made for {base}, not for {recipe.base.model}."
                yield Problem(f"inputs[{position}]", "error", sentence)
    elif len({base.casefold() for base in bases.values()}) > 1:
        listed = ", ".join(f"{recipe.inputs[position].adapter} for {base}" for position, base in bases.items())
        yield Problem("inputs", "error", f"The adapters were made for different bases ({listed}). Choose one base.")
    revisions = {str(facts["base_sha"])[:7] for _, facts in known if facts.get("base_sha")}
    if len(revisions) > 1:
        sentence = (
            f"The adapters were checked against different revisions of the base ({', '.join(sorted(revisions))})."
        )
        yield Problem("inputs", "warning", f"{sentence} Their updates may not belong to the same weights.")
    for position, facts in known:
        if not facts.get("base_model"):
            name = recipe.inputs[position].adapter
            yield Problem(f"inputs[{position}]", "warning", f"{name} does not say which base it was made for.")


def _kinds(recipe: Recipe, known: Known) -> Iterator[Problem]:
    kinds = {recipe.inputs[position].adapter: facts.get("peft_type") for position, facts in known}
    if len({kind for kind in kinds.values() if kind in _MERGEABLE}) > 1:
        listed = ", ".join(f"{name} is {kind}" for name, kind in kinds.items())
        sentence = f"LoRA adds to a weight and IA3 multiplies it, so they cannot be merged ({listed})."
        yield Problem("inputs", "error", sentence)


def _vectors(recipe: Recipe, known: Known) -> Iterator[Problem]:
    if recipe.declared.spectral and any(facts.get("peft_type") == "IA3" for _, facts in known):
        sentence = (
            f"IA3 holds vectors, which have no directions to share out, so {recipe.declared.title} averages them."
        )
        yield Problem("merge_method", "warning", f"{sentence} Choose task_arithmetic or ties.")


def _shapes(recipe: Recipe, known: Known) -> Iterator[Problem]:
    """The first tensor whose sizes differ between inputs."""
    seen: dict[str, tuple[int, list[int]]] = {}
    for position, facts in known:
        for tensor, _, shape in facts.get("tensors") or []:
            axis = next((axis for ending, axis in _FIXED_AXES if tensor.endswith(ending)), -1)
            if axis == -1:
                continue
            fixed = list(shape) if axis is None else list(shape[1:] if axis else shape[:1])
            other, expected = seen.setdefault(tensor, (position, fixed))
            if fixed != expected:
                first, second = recipe.inputs[other].adapter, recipe.inputs[position].adapter
                yield Problem(
                    f"inputs[{position}]",
                    "error",
                    f"{tensor} has size {expected} in {first} and {fixed} in {second}. "
                    "They were made for different models.",
                )
                return


def _modules(recipe: Recipe, known: Known) -> Iterator[Problem]:
    """Inputs that touch nothing in common, or not the same layers."""
    sets = {position: frozenset(facts["modules"]) for position, facts in known if facts.get("modules")}
    for (one, first), (other, second) in combinations(sets.items(), 2):
        names = f"{recipe.inputs[one].adapter} and {recipe.inputs[other].adapter}"
        if not first & second:
            ends = _last_names(first) & _last_names(second)
            hint = " Their modules look alike but are named for different model classes." if ends else ""
            sentence = f"{names} adapt no module in common.{hint}"
            yield Problem(f"inputs[{other}]", "error" if ends else "warning", sentence)
            return
    if len(set(sets.values())) > 1:
        yield Problem("inputs", "info", "The adapters adapt different modules; a missing one counts as no change.")


def _last_names(modules: frozenset[str]) -> set[str]:
    return {module.rsplit(".", 1)[-1] for module in modules}


def _heads(recipe: Recipe, known: Known) -> Iterator[Problem]:
    with_heads = [(position, facts) for position, facts in known if facts.get("heads")]
    if not with_heads:
        return
    if recipe.output.heads == "keep":
        sentence = "Each input keeps its own head in the result, because heads of different tasks differ."
        yield Problem("output.heads", "info", sentence)
        return
    labels = {str(facts.get("labels")) for _, facts in with_heads if "labels" in facts}
    outputs = {str(facts["heads"]) for _, facts in with_heads}
    if len(labels) > 1 or len(outputs) > 1 or len(with_heads) < len(recipe.inputs):
        sentence = "The heads have different labels or sizes and cannot be averaged. Set heads to keep."
        yield Problem("output.heads", "error", sentence)
