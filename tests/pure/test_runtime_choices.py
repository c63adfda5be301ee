"""Labels scored in one pass: the same numbers as alone, in models that can, and told apart from those that cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import PeftModelForCausalLM, PromptTuningConfig
from transformers import BloomConfig, BloomForCausalLM

from adapters.runtime.choices import ChoiceReader, choices_apart, choices_together, tried_together
from merges.training.loaded import LoadedBase
from merges.training.settings import Settings
from merges.training.teach import teach
from tests.pure.tiny_models import opinions, write_causal

FAST = Settings(rank=4, epochs=4, batch_size=8, learning_rate=1e-2, max_length=16, folds=0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_causal(tmp_path_factory.mktemp("causal"))


@pytest.fixture
def causal_model(causal: Path) -> Any:
    return LoadedBase(causal).model(2)


TAILS = st.lists(st.lists(st.integers(4, 27), min_size=1, max_size=4), min_size=1, max_size=5)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    heads=st.lists(st.lists(st.integers(4, 27), min_size=1, max_size=6), min_size=3, max_size=3),
    tails=st.lists(TAILS, min_size=3, max_size=3),
    prefix=st.lists(st.integers(4, 27), max_size=6),
)
def test_labels_read_together_score_as_those_read_alone(
    causal_model: Any, heads: list[list[int]], tails: list[list[list[int]]], prefix: list[int]
) -> None:
    quick, slow = (ChoiceReader(causal_model, 0, CPU, together=together) for together in (True, False))
    with torch.no_grad():
        before = quick.prefix(prefix)
        found, all_apart = quick.read(heads, tails, before), slow.read(heads, tails, before)
        torch.testing.assert_close(all_apart.sums(), found.sums(), atol=1e-4, rtol=1e-4)
        assert found.present().tolist() == all_apart.present().tolist()
        for row, (head, row_tails) in enumerate(zip(heads, tails, strict=True)):
            for place, tail in enumerate(row_tails):
                ids = torch.tensor([[*prefix, *head, *tail]])
                table = causal_model(ids).logits[0].log_softmax(-1)[len(prefix) + len(head) - 1 : -1]
                alone = table[torch.arange(len(tail)), torch.tensor(tail)].sum()
                torch.testing.assert_close(found.sums()[row, place], alone, atol=1e-4, rtol=1e-4)
                assert found.counts()[row, place] == len(tail)


def test_reading_together_trains_as_reading_apart(causal_model: Any) -> None:
    heads, tails = [[5, 6, 7], [8]], [[[9, 10, 3], [9, 11, 3], [12, 3]], [[12, 3], [9, 10, 3]]]
    gradients = []
    for read in (choices_together, choices_apart):
        weight = causal_model.model.layers[0].self_attn.v_proj.weight
        weight.requires_grad_(True)
        loss = read(causal_model, heads, tails, 0, CPU).sums().sum()
        gradients.append(torch.autograd.grad(loss, weight)[0])
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_who_cannot_read_labels_together_is_told_apart(causal_model: Any, tmp_path: Path) -> None:
    assert tried_together(causal_model, 0, CPU)
    torch.manual_seed(0)
    bloom = BloomForCausalLM(BloomConfig(vocab_size=28, hidden_size=32, n_layer=2, n_head=2)).eval()
    assert not tried_together(bloom, 0, CPU), "its positions are in the mask"
    prompted = PeftModelForCausalLM(causal_model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    assert not tried_together(prompted, 0, CPU), "vectors before the text are not in the mask"
    scores, _ = ChoiceReader(bloom, 0, CPU).scores([[5, 6], [7]], [[9, 3], [10, 11, 3]], at_once=1)
    with torch.no_grad():
        alone = bloom(torch.tensor([[7, 10, 11, 3]])).logits[0].log_softmax(-1)
    assert float(scores[1, 1]) == pytest.approx(float(alone[0, 10] + alone[1, 11] + alone[2, 3]), abs=1e-4)


def test_many_long_labels_are_scored_in_groups(causal_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tails = [[4 + number % 20, 5 + number % 7, 3] for number in range(40)]
    heads, told = [[5, 6, 7], [8], [9, 10]], []
    reader = ChoiceReader(causal_model, 0, CPU, together=True)
    whole, counts = reader.scores(heads, tails)
    monkeypatch.setattr("adapters.runtime.choices.TOGETHER", 20)
    parts, _ = reader.scores(heads, tails, at_once=2, progress=lambda done, total, _: told.append((done, total)))
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-4)
    assert counts.tolist() == [[3.0] * 40] * 3
    assert told[-1] == (120, 120)
    assert len(told) > 10


def test_a_batch_in_parts_gives_the_same_gradients(
    causal: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    curves = []
    for most in (512, 4):
        monkeypatch.setattr("adapters.runtime.choices.TOGETHER", most)
        result = teach(causal, opinions(12), replace(FAST, method="ia3", epochs=2), tmp_path / str(most))
        curves.append([point.loss for point in result.curve])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
