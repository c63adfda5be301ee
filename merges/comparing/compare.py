"""The comparison itself: controls first, then every method with its λ chosen on validation, all on the same items."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from merges.comparing.controls import random_adapter
from merges.comparing.figures import Verdicts, row
from merges.comparing.geometry import alignment, interference
from merges.comparing.judge import Judge, JudgedTask, ensemble
from merges.comparing.tuning import Trial, search_weights, sweep
from merges.methods import METHODS
from merges.recipes import Recipe, parse, to_dict
from merges.running import LocalAdapter, MergeReport, run
from merges.running.report import tell

Progress = Callable[[int, int, str], None]
SCALES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
LARGE_SCALES = (0.3, 0.5, 0.7, 1.0, 1.3, 1.6, 2.0)


@dataclass
class Comparison:
    """Adapters with one task each, on one base, and what has been judged of them so far.

    `neutral` are texts that no specialist was taught on: what a language model keeps of its base is measured on them.
    """

    base: Path
    inputs: Sequence[LocalAdapter]
    tasks: Sequence[JudgedTask]
    scratch: Path
    progress: Progress
    seed: int = 0
    fresh: bool = False
    neutral: Sequence[str] = ()
    _done: int = 0
    _total: int = 1
    _runs: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def run(self, methods: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Judge the controls and every method; `methods` are recipes without inputs ({merge_method, space, ...}).

        Returns the report: rows (controls and methods with figures), cross matrix, λ trials and each method's recipe.
        Raises RecipeError for a method that does not fit the inputs, RuntimeFault, Cancelled.
        """
        started = time.perf_counter()
        recipes = [self._recipe(raw) for raw in methods]
        self._total = self._steps(recipes)
        self._judge = Judge(self.base)
        base, specialists, cross = self._controls()
        told = [self._method(recipe, base, specialists) for recipe in recipes]
        return {
            "rows": self.rows,
            "methods": told,
            "cross": cross,
            "tasks": [
                {"name": task.name, "n": len(task.test), "chosen_on": len(task.validation)} for task in self.tasks
            ],
            "inputs": [item.name for item in self.inputs],
            "interference": interference(self.inputs),
            "neutral_texts": len(self.neutral) if self._judge.writes else 0,
            "left_out": self.left_out,
            "seconds": time.perf_counter() - started,
            "winner": self._winner(),
        }

    def tune(self, recipe: Recipe) -> tuple[Recipe, list[Trial]]:
        """λ by the recipe's grid, or weights by search, on validation alone; and every trial."""
        self._judge = Judge(self.base)
        tried = recipe.parameters["trials"] if recipe.declared.searched else _combinations(grid_of(recipe))
        self._total = max(1, tried * len(self.tasks))
        return self._tuned(recipe)

    def _controls(self) -> tuple[Verdicts, Verdicts, list[dict[str, Any]]]:
        """Base, every specialist on every task, best single, mean, random: the verdicts of base and own specialists."""
        nothing = self._merged(self._recipe({"merge_method": "task_arithmetic", "parameters": {"lambda": 0.0}}))[0]
        base = self._verdicts(nothing, "the base")
        everywhere = [self._verdicts(item.folder, item.name) for item in self.inputs]
        own = {task.name: everywhere[number][task.name] for number, task in enumerate(self.tasks)}
        cross = [
            {"name": item.name, "accuracies": {name: verdict.accuracy for name, verdict in verdicts.items()}}
            for item, verdicts in zip(self.inputs, everywhere, strict=True)
        ]
        means = [sum(verdict.accuracy for verdict in verdicts.values()) for verdicts in everywhere]
        best = means.index(max(means))
        title = "The base" if self._judge.writes else "The base with each task's head"
        self._add("base", "control", title, base, base, own, nothing)
        best_title = f"Best single: {self.inputs[best].name}"
        self._add("best_single", "control", best_title, everywhere[best], base, own, self.inputs[best].folder)
        mean, _ = self._merged(self._recipe({"merge_method": "mean"}))
        self._add("mean", "control", "Uniform mean", self._verdicts(mean, "the mean"), base, own, mean)
        chance = random_adapter(mean, self.scratch / "random", self.seed)
        verdicts = self._verdicts(chance, "a random adapter")
        self._add("random", "control", "Random adapter of the mean's size", verdicts, base, own, chance)
        self._add("oracle", "control", "Each task by its own specialist", own, base, own)
        together = {task.name: ensemble([verdicts[task.name] for verdicts in everywhere]) for task in self.tasks}
        self._add("ensemble", "control", "All specialists' answers averaged", together, base, own)
        if self.fresh and (taught := self._fresh()):
            self._add("fresh", "control", "A fresh adapter a task, taught on the validation texts", taught, base, own)
        return base, own, cross

    def _fresh(self) -> Verdicts | None:
        """New adapters, each taught on one task's validation examples alone; None where those cannot teach one.

        What recycled adapters are worth shows beside them (Liu et al. 2026).
        """
        from merges.training.settings import Settings, TrainingFault
        from merges.training.teach import teach

        result = {}
        for number, task in enumerate(self.tasks):
            tell(self.progress, min(self._done, self._total - 1), self._total, f"Teaching a fresh adapter {task.name}")
            folder, settings = self.scratch / f"fresh-{number}", Settings(folds=0, seed=self.seed)
            try:
                teach(self.base, task.validation, settings, folder, labels=task.labels)
            except TrainingFault as error:
                self.left_out["fresh"] = f"{task.name}: {error}"
                return None
            result[task.name] = self._judge.judge(folder, replace(task, head=None), task.test)
            self._done += 1
        return result

    def _method(self, recipe: Recipe, base: Verdicts, own: Verdicts) -> dict[str, Any]:
        """One method: λ (or weights) on validation, then the test splits once."""
        chosen, trials = self._tuned(recipe)
        folder, report = self._merged(chosen)
        name = recipe.method if recipe.space == "dense" else f"{recipe.method}+{recipe.space}"
        title = recipe.declared.title + (f" in {recipe.space} space" if recipe.space != "dense" else "")
        self._add(name, "method", title, self._verdicts(folder, title), base, own, folder)
        return {
            "name": name,
            "recipe": to_dict(chosen),
            "trials": [trial.told() for trial in trials],
            "geometry": {
                "sign_conflict": report.totals.sign_conflict,
                "norm": report.totals.norm,
                "error": report.totals.error,
                "largest_rank": report.totals.largest_rank,
                "parameters": report.totals.parameters,
                "cosines": report.cosines,
                "alignment": alignment(self.inputs, folder),
            },
        }

    def _tuned(self, recipe: Recipe) -> tuple[Recipe, list[Trial]]:
        if recipe.declared.searched:
            wanted = {name: recipe.parameters[name] for name in ("trials", "bound", "penalty", "seed")}
            return search_weights(recipe, self.attempt, **wanted)
        grid = grid_of(recipe)
        return sweep(recipe, grid, self.attempt) if grid else (recipe, [])

    def attempt(self, recipe: Recipe) -> Trial:
        """Merge and judge on the validation examples."""
        folder, _ = self._merged(replace(recipe, select=None) if not recipe.declared.searched else recipe)
        verdicts = self._verdicts(folder, f"{recipe.declared.title} on validation", validation=True)
        loss = sum(verdict.loss for verdict in verdicts.values()) / len(verdicts)
        return Trial({}, {name: verdict.accuracy for name, verdict in verdicts.items()}, loss)

    def _merged(self, recipe: Recipe) -> tuple[Path, MergeReport]:
        self._runs += 1
        output = self.scratch / f"merge-{self._runs}"
        report = run(recipe, self.inputs, output, lambda *_: None, base=LocalAdapter("base", self.base))
        return output, report

    def _verdicts(self, folder: Path, shown: str, validation: bool = False) -> dict[str, Any]:
        result = {}
        for task in self.tasks:
            tell(self.progress, min(self._done, self._total - 1), self._total, f"Judging {shown} on {task.name}")
            examples = task.validation if validation else task.test
            result[task.name] = self._judge.judge(folder, task, examples)
            self._done += 1
        return result

    def _add(
        self, name: str, kind: str, title: str, verdicts: Verdicts, base: Verdicts, own: Verdicts,
        folder: Path | None = None,
    ) -> None:  # fmt: skip
        told = row(name, verdicts, base, own, self.seed) | {"kind": kind, "title": title}
        if folder is not None and self.neutral and self._judge.writes:
            told["retention"] = self._judge.retention(folder, self.neutral)
        self.rows.append(told)

    def _recipe(self, raw: Mapping[str, Any]) -> Recipe:
        select = {"select": {"tasks": [task.name for task in self.tasks]}}
        method = METHODS.get(str(raw.get("merge_method")))
        more = select if method and method.searched else {}
        return parse({**raw, **more, "inputs": [{"adapter": item.name} for item in self.inputs]})

    def _winner(self) -> str | None:
        methods = [entry for entry in self.rows if entry["kind"] == "method"]
        return (
            max(methods, key=lambda entry: (entry["accuracy"], entry["worst_normalised"] or 0))["name"]
            if methods
            else None
        )

    def _steps(self, recipes: Sequence[Recipe]) -> int:
        subjects = 4 + len(self.inputs) + len(recipes) + self.fresh
        tried = sum(
            recipe.parameters["trials"] if recipe.declared.searched else _combinations(grid_of(recipe))
            for recipe in recipes
        )
        return (subjects + tried) * len(self.tasks)


def grid_of(recipe: Recipe) -> dict[str, tuple[float, ...]]:
    """The values of λ that are tried for a method: small ones where updates are summed, up to 2 where they are not."""
    parameter = recipe.declared.parameter("lambda")
    if recipe.select is not None and recipe.select.grid:
        return dict(recipe.select.grid)
    if parameter is None:
        return {}
    return {"lambda": SCALES if parameter.default == "auto" else LARGE_SCALES}


def _combinations(grid: Mapping[str, Sequence[float]]) -> int:
    return math.prod(len(values) for values in grid.values()) if grid else 0
