"""Runs a recipe: folders of adapters and checkpoints in, one folder out, with a report of what was lost.

A checked recipe and local folders come in; an adapter or a whole checkpoint, heads, recipe.yaml and merge_report.json
leave, the same bytes for the same inputs. The factors A and B are never merged apart from each other,
nothing is written before everything is computed, and neither the network nor the clock decides anything.
"""

from __future__ import annotations

from merges.running.adapters import LocalAdapter
from merges.running.report import Cancelled, MergeReport
from merges.running.start import run

__all__ = ["Cancelled", "LocalAdapter", "MergeReport", "run"]
