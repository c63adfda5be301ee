"""What each merging method does, from its own declaration; which one is the default, and why."""

from __future__ import annotations

import inspect
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from merges.methods import DEFAULT, DEFAULT_FOR_CHECKPOINTS, METHODS, Method


def methods(request: HttpRequest) -> HttpResponse:
    """Every method with its formula, paper, parameters and what it needs."""
    rows = [_row(method) for method in METHODS.values()]
    context = {
        "rows": rows, "tab": "methods", "default": METHODS[DEFAULT], "whole": METHODS[DEFAULT_FOR_CHECKPOINTS],
    }  # fmt: skip
    return render(request, "merges/methods.html", context)


def _row(method: Method) -> dict[str, Any]:
    traits = [
        "exact on LoRA" if method.exact_on_lora else "then cut to a rank",
        "dense, core or knots space" if method.projects else "",
        "averages vectors" if method.spectral else "",
        f"needs {' and '.join(method.needs)} statistics" if method.needs else "needs no data",
        "weights are searched" if method.searched else "",
        "mixes for each text" if method.routed else "",
    ]
    told = inspect.cleandoc(method.run.__doc__ or "").split("\n\n")
    return {
        "method": method,
        "default": method.name == DEFAULT,
        "formula": [" ".join(part.split()).partition(" Raises ")[0] for part in told],
        "traits": [trait for trait in traits if trait],
        "parameters": [
            {
                "name": one.name,
                "default": one.default,
                "range": one.range_text,
                "choices": one.choices,
                "help": one.help,
            }
            for one in method.parameters
        ],
    }
