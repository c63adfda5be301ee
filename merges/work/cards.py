"""The card of a merge, written from its recipe and report."""

from __future__ import annotations

from typing import Any

import yaml

from adapters.models import Lineage, Relation
from merges.models import Merge
from merges.recipes import Recipe
from merges.work.subjects import Pinned, facts_of

ROUTED = (
    "This is a soft mixture: a router (`router.safetensors`) mixes the experts anew for each text. peft alone computes "
    "their uniform mixture; `merges.running.mixing.SoftMixture` runs the router."
)


def merge_card(merge: Merge, inputs: list[Pinned], report: Any, recipe: Recipe, trials: list[dict[str, Any]]) -> str:
    """README.md of the result: front matter for the ecosystem, then what was merged and how well it was kept.

    `recipe` is the one that the result's files hold: what has no name there has none here.
    """
    front = {
        "base_model": _base(inputs, recipe),
        "base_model_relation": "merge",
        "library_name": "transformers" if recipe.output.form == "checkpoint" else "peft",
        "license": _common_license(inputs),
        "datasets": _tasks(inputs),
        "tags": ["merge", recipe.method],
    }
    totals, reference = report.totals, recipe.declared.reference
    lines = [
        f"# {merge.repo.name}",
        "",
        f"{recipe.declared.title} ({reference.authors}, {reference.year}) "
        f"of {len(inputs)} {_noun(recipe)} of one base.",
        "",
        f"| {_noun(recipe).removesuffix('s')} | revision | weight |",
        "| --- | --- | ---: |",
        *(
            f"| {entry.adapter} | {f'`{item.commit.short}`' if entry.adapter == item.name else ''} | {entry.weight:g} |"
            for item, entry in zip(inputs, recipe.inputs, strict=True)
        ),
        "",
        f"{totals.layers} layers, {totals.parameters:,} parameters, largest rank {totals.largest_rank}. "
        f"Relative error of the stored form against the exact merge: {totals.error:.2e}. "
        f"Share of the inputs' mass lost to opposite signs: {totals.sign_conflict:.1%}.",
        "",
        "The recipe is in `recipe.yaml`, every layer's figures in `merge_report.json`.",
    ]
    if trials:
        settings = ", ".join(f"{name} {value:g}" for name, value in recipe.parameters.items() if name == "lambda")
        lines += ["", f"Chosen among {len(trials)} tries on validation data, never on a test split. {settings}".strip()]
    if recipe.declared.routed:
        router = report.manifest.get("router")
        taught = f" The router was taught on {router['examples']} texts of {router['tasks']} tasks." if router else ""
        lines += ["", ROUTED + taught]
    if report.heads:
        heads = ", ".join(f"`{head}`" for head in report.heads)
        lines += ["", f"Heads are kept per parent, never averaged: {heads}."]
    claims = yaml.safe_dump({key: value for key, value in front.items() if value}, sort_keys=False)
    return "\n".join(["---", claims + "---", "", *lines, ""])


def _base(inputs: list[Pinned], recipe: Recipe) -> str:
    if recipe.base is not None:
        return recipe.base.model if "/" in recipe.base.model else ""
    facts = facts_of(inputs[0]) or {}
    return str(facts.get("base") or facts.get("base_model", ""))


def _noun(recipe: Recipe) -> str:
    return "models" if any(entry.whole for entry in recipe.inputs) else "adapters"


def _common_license(inputs: list[Pinned]) -> str:
    licenses = {str(item.repo.card.get("license", "")) for item in inputs}
    return licenses.pop() if len(licenses) == 1 else "other"


def _tasks(inputs: list[Pinned]) -> list[str]:
    rows = Lineage.objects.filter(
        child__in=[item.repo for item in inputs], relation=Relation.TAUGHT_ON, parent__private=False
    ).select_related("parent__owner")
    return sorted({row.parent.full_name for row in rows})
