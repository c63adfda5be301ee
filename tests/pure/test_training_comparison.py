"""The comparison of a specialist with prompting, its base and a probe: same texts, all orders, work counted as read."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adapters.runtime.choices import passes
from adapters.runtime.examples import Example
from adapters.runtime.runtime import Runtime
from merges.evaluation.metrics import wilson_interval
from merges.training.comparison import compare
from merges.training.in_context import asked, in_context_scores, shots_in_order
from merges.training.loaded import LoadedBase
from merges.training.settings import CurvePoint, Settings, usual_settings
from merges.training.teach import teach
from tests.pure.tiny_models import opinions

FAST = Settings(rank=4, epochs=4, batch_size=8, learning_rate=1e-2, max_length=16, folds=0)
CPU = torch.device("cpu")


def test_the_comparison_judges_all_ways_on_the_same_texts(base: Path, causal: Path, tmp_path: Path) -> None:
    rows, test = opinions(40), opinions(20, 40)
    teach(base, rows, replace(FAST, epochs=8), tmp_path / "a")
    ways = {
        way["name"]: way for way in compare(base, tmp_path / "a", rows, test, ["no", "yes"], nearest=tmp_path / "a")
    }
    assert ways["Specialist"]["right"] == ways["Nearest specialist"]["right"]
    assert ways["Nearest specialist"]["p"] == 1.0
    assert ways["In-context learning"]["accuracy"] is None
    assert all(way["n"] == 20 for way in ways.values() if way["accuracy"] is not None)
    teach(causal, rows, replace(FAST, method="ia3", max_length=32), tmp_path / "b")
    found = compare(causal, tmp_path / "b", rows[:6], test[:6], ["no", "yes"])
    prompt = next(way for way in found if way["name"] == "In-context learning")
    assert len(prompt["orders"]) == 3 and prompt["shots"] >= 1
    assert prompt["flops"] > found[0]["flops"] and prompt["flops"] > prompt["flops_cached"]
    assert asdict(CurvePoint(1, 1, 0.5))["fold"] == 0


def test_in_context_figures_are_those_of_all_orders(causal: Path, tmp_path: Path) -> None:
    rows, test = opinions(24), opinions(20, 40)
    teach(causal, rows, replace(FAST, method="ia3", max_length=32, epochs=1), tmp_path / "a")
    ways = compare(causal, tmp_path / "a", rows, test, ["no", "yes"], orders=4, max_length=32)
    prompt = next(way for way in ways if way["name"] == "In-context learning")
    assert prompt["accuracy"] == pytest.approx(np.mean(prompt["orders"]))
    assert prompt["right"] == round(prompt["accuracy"] * 20)
    assert prompt["interval"] == wilson_interval(prompt["right"], 20)
    assert prompt["interval"][0] <= prompt["accuracy"] <= prompt["interval"][1]


def test_the_work_of_a_prediction_counts_what_is_read(base: Path, causal: Path, tmp_path: Path) -> None:
    test = opinions(8)
    for virtual in (4, 40):
        chosen = replace(usual_settings("prompt", causal=True), virtual_tokens=virtual, epochs=1, max_length=32)
        teach(causal, opinions(16), chosen, tmp_path / f"prompt-{virtual}")
    few, many = (
        {
            way["name"]: way
            for way in compare(causal, tmp_path / f"prompt-{n}", opinions(8), test, ["no", "yes"], orders=1)
        }
        for n in (4, 40)
    )
    assert many["Specialist"]["flops"] > few["Specialist"]["flops"] > 2 * few["Zero-shot prompt"]["flops"] * 0.9
    probe = "Linear probe on frozen features"
    assert few[probe]["flops"] < few["Zero-shot prompt"]["flops"], "features meet no vocabulary and no label"
    teach(base, opinions(16), replace(FAST, epochs=1), tmp_path / "encoder")
    pairs = [replace(row, text_pair=row.text) for row in test]
    alone, paired = (compare(base, tmp_path / "encoder", rows, rows, ["no", "yes"])[0] for rows in (test, pairs))
    assert paired["flops"] > 1.6 * alone["flops"]
    assert passes([[5, 6, 9], [5, 6, 8], [7]], together=True) == [(2, 3)]  # 5 and 6 once, no label's last token
    assert passes([[5, 6, 9], [7]], together=False) == [(3, 4), (1, 2)]


def test_the_comparison_reads_as_the_specialist_was_taught(causal: Path, tmp_path: Path) -> None:
    loaded = LoadedBase(causal)
    long = Example("good " * 60, "yes")
    rows = [long, *opinions(3)]
    for order in range(6):
        ids, count = shots_in_order(rows, loaded.tokenizer, order, 48, longest=16)
        assert count == 4 or len(ids) > 32
    whole = [shots_in_order(rows, loaded.tokenizer, order, 48)[1] for order in range(6)]
    assert whole == [3] * 6, "the next one is taken where one does not fit"
    runtime = Runtime(causal, max_length=16)
    test = [long, *opinions(4)]
    heads, tails = asked(runtime, test, ["no", "yes"], "{text} movie :")
    assert max(map(len, heads)) + max(map(len, tails)) == 16
    alone = in_context_scores(runtime, [], test, ["no", "yes"], template="{text} movie :")
    prompts = [f"{row.text} movie :" for row in test]
    np.testing.assert_allclose(alone, runtime.label_scores(prompts, ["no", "yes"]), atol=1e-5)
    teach(causal, opinions(8), replace(FAST, method="ia3", max_length=16, epochs=1), tmp_path / "a")
    few, more = (compare(causal, tmp_path / "a", rows, test, ["no", "yes"], max_length=16, template=template)[0]
                 for template in ("{text} :", "{text} movie red green blue :"))  # fmt: skip
    assert more["flops"] > few["flops"]


def test_the_nearest_is_asked_with_its_own_prompt(causal: Path, tmp_path: Path) -> None:
    rows, test = opinions(12), opinions(16, 40)
    template = "{text} movie :"
    for name, asked_with in (("a", "{text} :"), ("b", template)):
        teach(causal, rows, replace(FAST, method="ia3", max_length=16, epochs=2, template=asked_with), tmp_path / name)
    alone = compare(causal, tmp_path / "b", rows, test, ["no", "yes"], max_length=16, template=template)[0]
    beside = compare(
        causal, tmp_path / "a", rows, test, ["no", "yes"], max_length=16, template="{text} :",
        nearest=tmp_path / "b", nearest_template=template,
    )  # fmt: skip
    nearest = next(way for way in beside if way["name"] == "Nearest specialist")
    assert (nearest["right"], nearest["flops"]) == (alone["right"], alone["flops"])
    assert nearest["p"] is not None
    assert nearest["flops"] > beside[0]["flops"]
