"""The card of a taught specialist, written from what was done and measured."""

from __future__ import annotations

from typing import Any

import yaml

from hub.pages.units import duration, filesize
from merges.models import Teaching
from merges.training.settings import TITLES
from merges.work.subjects import Pinned


def specialist_card(row: Teaching, task: Pinned, result: Any, report: dict[str, Any]) -> str:
    """README.md: front matter for the ecosystem; then data, recipe, scores with intervals, seed and cost."""
    settings = result.settings
    base = row.base.full_name if row.base else ""
    card = task.repo.card
    front = {
        "base_model": base,
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-classification",
        "license": str(card.get("license") or "other"),
        "language": card.get("language"),
        "datasets": [task.name],
        "metrics": ["accuracy"],
        "tags": [settings.method, "taught-here"],
    }
    claims = yaml.safe_dump({key: value for key, value in front.items() if value}, sort_keys=False, allow_unicode=True)
    title = TITLES.get(settings.method, settings.method)
    lines = [
        "---", claims + "---", f"# {row.repo.name}", "",
        f"A specialist for `{base}` ({title}), taught on this hub with {row.examples} examples of `{task.name}`.", "",
        "## Data", "",
        f"{row.examples} training examples with {len(result.labels)} labels ({_listed(result.labels)}), from "
        f"`{task.name}` at commit `{task.commit.sha[:10]}`.", "",
        "## Recipe", "", *_recipe(row, result, report), "",
        "## Scores", "", *_scores(result, report), "",
        "## Cost", "",
        f"{report['seconds']:.1f} {'GPU' if report['device'].startswith('cuda') else 'core'}-seconds "
        f"({duration(report['seconds'])} on {report['device']}, {report['threads']} thread"
        f"{'' if report['threads'] == 1 else 's'}), at most {filesize(report['memory'])} of memory. Estimated before: "
        f"{duration(row.estimate.get('seconds'))}, {filesize(row.estimate.get('memory'))}.", "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in report["versions"].items()) + ".",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _recipe(row: Teaching, result: Any, report: dict[str, Any]) -> list[str]:
    settings = result.settings
    numbers = {
        "lora": f"rank {settings.rank}, alpha {settings.alpha:g}{', rank-stabilised' if settings.rslora else ''}",
        "prompt": f"{settings.virtual_tokens} virtual tokens",
    }.get(settings.method, "no further numbers")
    lines = [
        f"- Method: {TITLES.get(settings.method, settings.method)} ({numbers}); {result.trainable:,} trained "
        f"parameters, {result.share:.2%} of the model.",
        f"- Optimiser: {settings.optimiser}, learning rate {settings.learning_rate:g}, batches of "
        f"{settings.batch_size}, {report['epochs']} epochs ({result.steps} steps), at most {settings.max_length} "
        f"tokens, seed {settings.seed}.",
        f"- Start: {row.start.get('chosen', 'base')}. {row.start.get('why', '')}".rstrip(),
    ]
    if result.evened:
        lines.append(
            f"- First, in closed form and without labels: in the last {result.evened} layers the token that the head "
            "reads attends to all tokens alike."
        )
    if result.fold_curves:
        lines.append(f"- The number of epochs was chosen by {len(result.fold_curves)}-fold cross-validation.")
    return lines


def _scores(result: Any, report: dict[str, Any]) -> list[str]:
    held, kept = report.get("held_back"), result.best
    lines = []
    if kept.validation_accuracy is not None:
        lines.append(f"Validation accuracy {kept.validation_accuracy:.3f}, loss {kept.validation_loss:.3f}.")
    if held:
        low, high = held["interval"]
        lines.append(
            f"Cross-validated accuracy {held['right'] / held['n']:.3f} (95 % interval {low:.3f} to {high:.3f}, "
            f"n = {held['n']})."
        )
    lines.append("The hub judges the specialist on the task's test split and shows those scores on this repo's page.")
    return lines


def _listed(labels: tuple[str, ...], most: int = 12) -> str:
    shown = ", ".join(labels[:most])
    return f"{shown} and {len(labels) - most} more" if len(labels) > most else shown
