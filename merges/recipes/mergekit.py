"""mergekit's recipes in our words: the same shape, its own defaults, and a clear refusal of what has no counterpart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from merges.methods.declaration import shown
from merges.recipes.schema import Problem, RecipeError, key_shown

METHODS = ("linear", "task_arithmetic", "ties", "dare_linear", "dare_ties", "slerp", "breadcrumbs", "della",
           "della_linear")  # fmt: skip
_KEYS = ("merge_method", "models", "base_model", "parameters", "dtype", "out_dtype")
_PARAMETERS = ("weight", "density", "normalize", "lambda", "rescale", "int8_mask", "t", "gamma", "epsilon")


def is_mergekit(raw: Mapping[str, Any]) -> bool:
    """Whether a recipe is written the way mergekit writes it."""
    return any(key in raw for key in ("models", "slices", "base_model"))


def translated(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The same merge as one of our recipes, mergekit's defaults written out (TIES density 1, weights normalised).

    `path+adapter` names the adapter; an entry that only repeats the base is dropped. Raises RecipeError for layer
    slices, gradients over layers, and methods that are not here.
    """
    if "slices" in raw:
        _refuse("slices", "Layer slices cannot be merged from adapters. Use models instead.")
    for key in raw:
        if key not in _KEYS:
            _refuse(key_shown(key), f"mergekit's {shown(key)} has no meaning for adapters. Remove it.")
    method, models = raw.get("merge_method"), raw.get("models")
    if method not in METHODS:
        _refuse("merge_method", f"mergekit's method {shown(method)} is not here. Known: {', '.join(METHODS)}.")
    if not isinstance(models, list):
        _refuse("models", "models must be a list. List the adapters to merge.")
    common = _settings("parameters", raw.get("parameters"))
    inputs = [_input(f"models[{position}]", entry, common, method) for position, entry in enumerate(models)]
    base = raw.get("base_model")
    if method == "linear" and any(entry["adapter"] == base and entry["weight"] for entry in inputs):
        _refuse("models", "The base has a weight of its own here, which an adapter has not. Use task_arithmetic.")
    result: dict[str, Any] = {"inputs": [entry for entry in inputs if entry["adapter"] != base]}
    result |= _method(str(method), common)
    if base is not None:
        result["base"] = base
    dtype = raw.get("out_dtype", raw.get("dtype"))
    return result | ({"output": {"dtype": dtype}} if dtype is not None else {})


def _input(place: str, entry: Any, common: Mapping[str, Any], method: Any) -> dict[str, Any]:
    known = isinstance(entry, Mapping) and not set(entry) - {"model", "parameters"}
    if not known or not isinstance(entry.get("model"), str):
        _refuse(place, f"{place} must hold model and, if wanted, parameters.")
    own = {**common, **_settings(f"{place}.parameters", entry.get("parameters"))}
    result = {"adapter": str(entry["model"]).rpartition("+")[2], "weight": own.get("weight", 1.0)}
    if method in ("ties", "breadcrumbs") or str(method).startswith(("dare", "della")):
        result["density"] = own.get("density", 1.0)
    if str(method).startswith("della"):  # mergekit leaves an input of density 1 whole
        result["window"] = 0.0 if result["density"] == 1 else own.get("epsilon", 0.15)
    return result


def _method(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    scale = {"lambda": given.get("lambda", 1.0)}
    if name == "linear":
        if given.get("normalize", True):
            return {"merge_method": "mean"}
        return {"merge_method": "task_arithmetic", "parameters": {"lambda": 1.0}}
    if name == "slerp":
        return {"merge_method": "slerp", "parameters": {"t": given.get("t", 0.5)}}
    if name == "task_arithmetic":
        return _task_arithmetic(scale, given)
    if name == "breadcrumbs":
        if given.get("normalize", False):
            _refuse(
                "parameters.normalize", "breadcrumbs with normalised weights is not here. Divide the weights yourself."
            )
        return {"merge_method": "breadcrumbs", "parameters": {**scale, "gamma": given.get("gamma", 0.01)}}
    normalize = {"normalize": "weight" if given.get("normalize", name == "ties") else "none"}
    if name == "ties":
        return {"merge_method": "ties", "parameters": {**scale, **normalize}}
    if name.startswith("della"):
        return _della(name, scale, given)
    if given.get("rescale", True) is not True:
        _refuse("parameters.rescale", "DARE without rescaling is not here. Remove rescale or set it to true.")
    if name == "dare_linear" and given.get("normalize", False):
        _refuse("parameters.normalize", "dare_linear with normalised weights is not here. Divide the weights yourself.")
    variant = {"combine": name.removeprefix("dare_"), "rescale": "l1"}
    return {"merge_method": "dare", "parameters": {**scale, **normalize, **variant}}


def _task_arithmetic(scale: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    if not given.get("normalize", False):
        return {"merge_method": "task_arithmetic", "parameters": scale}
    if scale["lambda"] != 1:
        sentence = "A lambda of normalised weights is not here. Set normalize to false and divide the weights."
        _refuse("parameters.normalize", sentence)
    return {"merge_method": "mean"}


def _della(name: str, scale: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    normalize = given.get("normalize", True)
    if name == "della_linear" and normalize:
        _refuse("parameters.normalize", "della_linear with normalised weights is not here. Set normalize to false.")
    own = {
        "normalize": "weight" if normalize else "none",
        "combine": "linear" if name == "della_linear" else "ties",
        "rescale": "l1" if given.get("rescale", True) else "none",
    }
    return {"merge_method": "della", "parameters": {**scale, **own}}


def _settings(place: str, raw: Any) -> dict[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        _refuse(place, f"{place} must be a mapping of names to values.")
    for key, value in raw.items():
        if key not in _PARAMETERS:
            _refuse(f"{place}.{key_shown(key)}", f"mergekit's parameter {shown(key)} is not here. Remove it.")
        if isinstance(value, list):
            _refuse(f"{place}.{key}", f"{key} differs from layer to layer, which is not supported. Give one value.")
    return dict(raw)


def _refuse(field: str, message: str) -> NoReturn:
    raise RecipeError([Problem(field, "error", message)])
