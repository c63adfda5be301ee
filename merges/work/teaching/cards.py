"""The card of a taught specialist, written from what was done and measured."""

from __future__ import annotations

import json
from typing import Any

import yaml

from hub.pages.units import duration, filesize
from merges.models import Teaching
from merges.training.settings import title_of
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
    title = title_of(settings)
    lines = [
        "---", claims + "---", f"# {row.repo.name}", "",
        f"A specialist for `{base}` ({title}), taught on this hub with {row.examples} examples of `{task.name}`.", "",
        "## Data", "",
        f"{row.examples} training examples with {len(result.labels)} labels ({_listed(result.labels)}), from "
        f"`{task.name}` at commit `{task.commit.sha[:10]}`{_drawn(row)}.", "",
        "## Recipe", "", *_recipe(row, result, report), "",
        "## Scores", "", *_scores(row, report), "",
        "## Cost", "",
        _cost(row, report), "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in report["versions"].items()) + ".",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _recipe(row: Teaching, result: Any, report: dict[str, Any]) -> list[str]:
    settings = result.settings
    numbers = {
        "lora": f" (rank {settings.rank}, alpha {settings.alpha:g}{', rank-stabilised' if settings.rslora else ''})",
        "prompt": f" ({settings.virtual_tokens} virtual tokens)",
    }.get(settings.method, "")
    lines = [
        f"- Method: {title_of(settings)}{numbers}; {result.trainable:,} trained parameters, {result.share:.2%} of the "
        "model.",
        f"- Optimiser: {settings.optimiser}, learning rate {settings.learning_rate:g}, batches of "
        f"{settings.batch_size}, {report['epochs']} epochs ({result.steps} steps), at most {settings.max_length} "
        f"tokens, seed {settings.seed}.",
        f"- Start: {row.start.get('chosen', 'base')}. {row.start.get('why', '')}".rstrip(),
    ]
    if report["template"]:
        lines.append(f"- Prompt: `{json.dumps(report['template'], ensure_ascii=False)}`, continued with the label.")
        lines.append(
            "- Losses: the label's likelihood, unlikelihood of wrong labels (weight "
            f"{settings.unlikelihood:g}) and the label's rank by length-normalised likelihood (weight "
            f"{settings.length_normalised:g})."
        )
    if result.evened:
        lines.append(
            f"- First, in closed form and without labels: in the last {result.evened} layers the token that the head "
            "reads attends to all tokens alike."
        )
    if result.fold_curves:
        lines.append(f"- The number of epochs was chosen by {len(result.fold_curves)}-fold cross-validation.")
    return lines


def _drawn(row: Teaching) -> str:
    """How the examples were chosen, where there may have been more."""
    return f", drawn from every label in turn by seed {row.settings['seed']}" if row.few else ""


def _cost(row: Teaching, report: dict[str, Any]) -> str:
    seconds = f"{report['cost']:.1f} {'GPU' if report['device'].startswith('cuda') else 'core'}-seconds"
    threads = f"{report['threads']} thread{'' if report['threads'] == 1 else 's'}"
    return (
        f"{seconds} ({duration(report['seconds'])} of training{_choosing(report)} on {report['device']}, {threads}), "
        f"at most {filesize(report['memory'])} of memory. Estimated before: {duration(row.estimate.get('seconds'))}, "
        f"{filesize(row.estimate.get('memory'))}."
    )


def _choosing(report: dict[str, Any]) -> str:
    seconds = report["choosing_seconds"]
    return f", {duration(seconds)} of choosing where to begin" if seconds >= 1 else ""


def _scores(row: Teaching, report: dict[str, Any]) -> list[str]:
    held, kept = report["held_back"], report["validation"]
    lines = []
    if kept["validation_accuracy"] is not None:
        lines.append(
            f"Validation accuracy {kept['validation_accuracy']:.3f}{_within(kept)}, loss {kept['validation_loss']:.3f}."
        )
    if held:
        lines.append(f"Cross-validated accuracy {held['right'] / held['n']:.3f}{_within(held)}.")
    elif row.start.get("seen"):
        lines.append("No cross-validated accuracy: the start was taught on some of these examples before.")
    if report["judged"]:
        lines.append(
            f"The hub judges the specialist on the task's {report['judged']} test texts and shows those scores on this "
            "repo's page."
        )
    else:
        lines.append(
            f"{'There' if lines else 'It has not been measured: there'} is no test split to judge it on. Add one to "
            "the task, and ask for an evaluation."
        )
    return lines


def _within(score: dict[str, Any]) -> str:
    low, high = score["interval"]
    return f" (95 % interval {low:.3f} to {high:.3f}, n = {score['n']})"


def _listed(labels: tuple[str, ...], most: int = 12) -> str:
    shown = ", ".join(labels[:most])
    return f"{shown} and {len(labels) - most} more" if len(labels) > most else shown
