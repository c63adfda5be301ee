"""The training room beyond one training: losses against by-hand sums, folds, checkpoints, memory, every method."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from adapters.runtime.examples import Example
from adapters.runtime.runtime import Runtime
from adapters.tasks.sampling import drawn, in_turn, spread
from merges.training import attending, descent
from merges.training.attending import attend_evenly
from merges.training.checkpoints import read_checkpoint
from merges.training.estimates import BaseSize, estimate
from merges.training.folds import best_length, stratified, usable_folds
from merges.training.heads import HeadLearner
from merges.training.likelihoods import LikelihoodLearner
from merges.training.loaded import LoadedBase
from merges.training.placing import adapter_config, placed
from merges.training.settings import CurvePoint, Settings, TrainingFault, usual_settings
from merges.training.starts import BASE, Trial, choose, try_starts
from merges.training.teach import teach
from tests.pure.tiny_models import opinions, write_encoder

FAST = Settings(rank=4, epochs=4, batch_size=8, learning_rate=1e-2, max_length=16, folds=0)
CPU = torch.device("cpu")


# --- the losses of T-Few -----------------------------------------------------------------------------------------------


def test_the_three_losses_are_those_of_the_paper(causal: Path) -> None:
    rows = [Example("the good dog", "yes"), Example("an awful cat", "no warm")]
    labels = ["no warm", "yes", "cold"]
    loaded = LoadedBase(causal)
    model = loaded.model(3)
    chosen = replace(FAST, class_weights="none", unlikelihood=0.7, length_normalised=0.3, max_length=32)
    learner = LikelihoodLearner(model, loaded.tokenizer, rows, [], labels, chosen, CPU)
    expected = []
    for row in rows:
        head = loaded.tokenizer(f"{row.text}\nLabel:")["input_ids"]
        chances: dict[str, list[float]] = {}
        for label in labels:
            ids = [*loaded.tokenizer(" " + label, add_special_tokens=False)["input_ids"], 3]
            with torch.no_grad():
                table = model(torch.tensor([head + ids])).logits[0].log_softmax(-1)
            chances[label] = [float(table[len(head) - 1 + place, token]) for place, token in enumerate(ids)]
        likelihood = -np.mean(chances[row.label])
        wrong = [value for label in labels if label != row.label for value in chances[label]]
        unlikelihood = np.mean([-math.log(1 - math.exp(value)) for value in wrong])
        means = {label: np.mean(values) for label, values in chances.items()}
        normalised = -math.log(math.exp(means[row.label]) / sum(math.exp(value) for value in means.values()))
        expected.append(likelihood + 0.7 * unlikelihood + 0.3 * normalised)
    assert float(learner.loss([0, 1])) == pytest.approx(np.mean(expected), abs=1e-4)


def test_few_negatives_are_drawn_from_many_labels(causal: Path) -> None:
    labels = [f"label {name}" for name in "abcdefghij"]
    rows = [Example(f"text {number}", label) for number, label in enumerate(labels)]
    loaded = LoadedBase(causal)
    learner = LikelihoodLearner(loaded.model(10), loaded.tokenizer, rows, [], labels, replace(FAST, negatives=3), CPU)
    offered = [learner._offered(4) for _ in range(20)]
    assert all(row[0] == 4 and len(set(row)) == 4 for row in offered)
    assert len({tuple(row) for row in offered}) > 5


# --- the token the head reads ------------------------------------------------------------------------------------------


def test_the_first_token_attends_evenly_in_the_last_layers(base: Path) -> None:
    loaded, rows, chosen = LoadedBase(base), opinions(24), FAST
    plain = loaded.model(2)
    model = placed(plain, adapter_config(plain, chosen, causal=False), chosen)
    learner = HeadLearner(model, loaded.tokenizer, rows, [], ["no", "yes"], chosen, CPU)
    batch = learner.encode([row.text for row in rows], None)
    model.get_base_model().set_attn_implementation("eager")

    def unevenness() -> list[float]:
        """By layer, how far the first token's attention is from alike on all tokens, at most."""
        with torch.no_grad():
            tables = model(**batch, output_attentions=True).attentions
        even = batch["attention_mask"] / batch["attention_mask"].sum(1, keepdim=True)
        return [float((table[:, :, 0] - even[:, None]).abs().max()) for table in tables]

    for name, module in model.named_modules():  # a random model attends evenly as it is: sharpen it
        if name.endswith(("query.base_layer", "key")):
            with torch.no_grad():
                module.weight.mul_(30.0)
    frozen = {name: value.clone() for name, value in model.named_parameters() if "lora_" not in name}
    assert min(unevenness()) > 0.2
    alone = [replace(row, label=str(number)) for number, row in enumerate(rows)]  # nothing to hold back: no probe
    assert attend_evenly(model, learner.encode, alone, [row.label for row in alone]) == 2
    assert max(unevenness()) < 0.05
    assert all(torch.equal(value, frozen[name]) for name, value in model.named_parameters() if name in frozen)


def test_even_attention_is_taken_back_where_it_does_not_help(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, rows, chosen = LoadedBase(base), opinions(24), FAST
    plain = loaded.model(2)
    model = placed(plain, adapter_config(plain, chosen, causal=False), chosen)
    learner = HeadLearner(model, loaded.tokenizer, rows, [], ["no", "yes"], chosen, CPU)
    before = {name: value.clone() for name, value in model.named_parameters()}
    found = iter([22, 12, 13, 12])
    monkeypatch.setattr(attending, "_held_back", lambda *_: next(found))
    assert attend_evenly(model, learner.encode, rows, ["no", "yes"]) == 0
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert attend_evenly(model, learner.encode, rows, ["no", "yes"]) == 2, "one of 24 is chance"


def test_nothing_but_a_fitted_head_can_be_the_best(base: Path, tmp_path: Path) -> None:
    """Labels that training can only do harm to: the head fitted at the start is kept, and peft reads it as it was."""
    wild = replace(FAST, learning_rate=1.0, epochs=3, patience=3)
    result = teach(base, opinions(24), wild, tmp_path / "a", validation=opinions(24, 24))
    assert (result.best.epoch, result.curve[0].epoch) == (0, 0)
    folds = teach(base, opinions(24), replace(wild, folds=2), tmp_path / "b")
    assert folds.best.epoch == folds.steps == 0
    assert [point.epoch for point in folds.fold_curves[0]][:2] == [0, 1]
    assert folds.held_back is not None and folds.held_back[1] == 24
    assert any("lora_A" in name for name in load_file(tmp_path / "b" / "adapter_model.safetensors"))


# --- every method is an artefact that peft loads -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["bias", "prompt"])
@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_biases_and_prompts_reload_with_peft(base: Path, causal: Path, tmp_path: Path, method: str, kind: str) -> None:
    folder = base if kind == "encoder" else causal
    chosen = replace(usual_settings(method, causal=kind == "causal"), epochs=6, batch_size=8, max_length=24, folds=0,
                     virtual_tokens=4, warm_head=False)  # fmt: skip
    result = teach(folder, opinions(32), chosen, tmp_path / "a", validation=opinions(16, 32), base_name="a/b")
    assert result.curve[-1].loss < result.curve[0].loss
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == (["classifier", "score"] if kind == "encoder" else None)
    tensors = load_file(tmp_path / "a" / "adapter_model.safetensors")
    if method == "bias":
        assert (config["peft_type"], config["lora_bias"], config["r"]) == ("LORA", True, 1)
        assert all(
            not tensor.any() for name, tensor in tensors.items() if name.endswith(("lora_A.weight", "lora_B.weight"))
        )
        assert any(tensor.any() for name, tensor in tensors.items() if name.endswith("lora_B.bias"))
    else:
        assert tensors["prompt_embeddings"].shape == (4, 32)
    kinds = {"encoder": AutoModelForSequenceClassification, "causal": AutoModelForCausalLM}
    options = {"num_labels": 2} if kind == "encoder" else {}
    again = PeftModel.from_pretrained(kinds[kind].from_pretrained(folder, **options), tmp_path / "a").eval()
    if method == "prompt" and kind == "encoder":
        tokens = LoadedBase(folder).tokenizer([row.text for row in opinions(16, 32)], padding=True, return_tensors="pt")
        with torch.no_grad():
            best = again(**tokens).logits.argmax(1)
        share = np.mean([result.labels[i] == row.label for i, row in zip(best, opinions(16, 32), strict=True)])
        assert share == pytest.approx(result.best.validation_accuracy)
    runtime = Runtime(folder)
    runtime.attach("a", tmp_path / "a")
    assert runtime.outputs("a") == (2 if kind == "encoder" else None)
    if method == "bias" or kind == "encoder":
        texts = [row.text for row in opinions(16, 32)]
        scores = (
            runtime.logits(texts, "a") if kind == "encoder"
            else runtime.label_scores([f"{text}\nLabel:" for text in texts], result.labels, adapter="a")
        )  # fmt: skip
        share = np.mean([result.labels[i] == r.label for i, r in zip(scores.argmax(1), opinions(16, 32), strict=True)])
        assert share == pytest.approx(result.best.validation_accuracy)


def test_starting_from_an_adapter_keeps_what_it_knows(base: Path, tmp_path: Path) -> None:
    rows, held = opinions(48), opinions(24, 48)
    teach(base, rows, replace(FAST, epochs=8), tmp_path / "first")
    none = teach(base, rows[:4], replace(FAST, epochs=1), tmp_path / "fresh", validation=held)
    begun = teach(
        base, rows[:4], replace(FAST, epochs=1, rank=2), tmp_path / "begun", validation=held, start=tmp_path / "first"
    )
    assert (begun.settings.rank, begun.evened) == (4, 2)
    assert begun.best.validation_loss < none.best.validation_loss
    trials = try_starts(base, {"first": tmp_path / "first"}, rows[:12], held, ["no", "yes"], FAST)
    assert [trial.name for trial in trials] == [BASE, "first"]
    assert all(trial.n == 24 and not trial.error for trial in trials)
    with pytest.raises(TrainingFault, match="does not fit"):
        teach(write_encoder_wider(tmp_path / "wide"), rows, FAST, tmp_path / "x", start=tmp_path / "first")


def test_a_start_that_has_seen_the_examples_is_not_scored_on_them(base: Path, tmp_path: Path) -> None:
    rows = [replace(row, text=f"{row.text} {'red green blue a bird'.split()[n % 5]}", label="no" if n * n % 7 < 3 else "yes")
            for n, row in enumerate(opinions(32))]  # fmt: skip
    teach(base, rows, replace(FAST, epochs=8), tmp_path / "first")
    again = replace(FAST, folds=2, epochs=2, patience=2)
    result = teach(base, rows, again, tmp_path / "a", start=tmp_path / "first", seen=True)
    assert (result.held_back, result.fold_curves) == (None, ())
    assert result.curve[-1].epoch == result.best.epoch == 2
    judged = teach(base, rows, again, tmp_path / "b", start=tmp_path / "first", validation=rows[:8], seen=True)
    assert all(point.validation_accuracy is None for point in judged.curve)


def write_encoder_wider(folder: Path) -> Path:
    write_encoder(folder)
    from transformers import BertConfig, BertModel

    config = json.loads((folder / "config.json").read_text()) | {"hidden_size": 64, "num_attention_heads": 4}
    BertModel(BertConfig(**config)).save_pretrained(folder)
    return folder


def test_examples_sorted_by_label_are_tried_with_all_labels(causal: Path) -> None:
    """The first 96 of such a file carry one label, and who always answers with it would be taken for perfect."""
    rows = sorted((row for row in opinions(256)), key=lambda row: row.label)
    assert {row.label for row in rows[:96]} == {"no"}
    found = spread(rows, 96)
    assert [sum(row.label == label for row in found) for label in ("no", "yes")] == [48, 48]
    assert found == spread(rows, 96) != spread(rows, 96, seed=1)
    few = spread([*rows[:90], *rows[-10:]], 50)
    assert sum(row.label == "yes" for row in few) == 5
    wanted = Runtime(causal, max_length=32).label_scores([f"{row.text}\nLabel:" for row in found], ["no", "yes"])
    right = sum(("no", "yes")[best] == row.label for best, row in zip(wanted.argmax(1), found, strict=True))
    trial = try_starts(causal, {}, rows, [], ["no", "yes"], replace(FAST, method="ia3", max_length=32))[0]
    assert (trial.right, trial.n) == (right, 96)
    assert sorted(drawn(range(500), 100)) == drawn(range(500), 100)
    assert max(drawn(range(500), 100)) > 400


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.integers(1, 45), st.integers(0, 5))
def test_few_examples_are_of_every_label_in_turn(labels: list[str], most: int, seed: int) -> None:
    rows = [Example(str(number), label) for number, label in enumerate(labels)]
    found = in_turn(rows, most, seed)
    assert found == in_turn(rows, most, seed)
    assert len(set(found)) == len(found) == min(most, len(rows))
    taken, there = (Counter(row.label for row in some) for some in (found, rows))
    for one, two in itertools.permutations(there, 2):
        assert taken[one] >= min(there[one], taken[two] - 1), "nobody has two more while another still has some"


def test_a_start_must_be_clearly_ahead() -> None:
    assert choose([Trial(BASE, 40, 64), Trial("a", 42, 64)])[0].name == BASE
    best, why = choose([Trial(BASE, 40, 64), Trial("a", 55, 64), Trial("b", error="broken")])
    assert best.name == "a"
    assert "55 of 64" in why and "40" in why
    assert choose([Trial(BASE, error="x")])[0].name == BASE
    ahead = Trial("a", 45, 64)
    assert choose([Trial(BASE, 40, 64), ahead])[0] == ahead
    many = [Trial(f"r{number}", 40, 64) for number in range(9)]
    assert choose([Trial(BASE, 40, 64), ahead, *many])[0].name == BASE, "the best of ten is ahead by chance"


# --- folds -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcd"), min_size=8, max_size=60), st.integers(2, 6), st.integers(0, 5))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_folds_hold_every_row_once_and_spread_labels(labels: list[str], count: int, seed: int) -> None:
    parts = stratified(labels, count, seed)
    assert sorted(row for part in parts for row in part) == list(range(len(labels)))
    for label in set(labels):
        counts = [sum(labels[row] == label for row in part) for part in parts]
        assert max(counts) - min(counts) <= 1


def test_the_best_length_is_all_or_nothing_unless_folds_were_stopped() -> None:
    def curve(*points: tuple[float, float]) -> list[CurvePoint]:
        return [CurvePoint(epoch, epoch, 1.0, loss, share, 1) for epoch, (loss, share) in enumerate(points)]

    dip = curve((0.9, 0.5), (0.1, 0.5), (0.4, 0.75))
    worse, little = curve((0.9, 1.0), (0.5, 0.5), (0.4, 0.5)), curve((0.3, 0.75), (0.5, 0.5), (0.4, 0.7))
    assert best_length([dip, dip], [40, 40], 2) == 2
    assert best_length([worse, worse], [40, 40], 2) == 0
    assert best_length([little, little], [40, 40], 2) == 2  # four of eighty may be chance
    assert best_length([worse], [4], 2) == 2  # and so may two of four
    assert best_length([dip], [4], 9) == 1
    assert best_length([dip[1:]], [4], 2) == 2


def test_folds_choose_the_length_and_give_an_honest_score(base: Path, tmp_path: Path) -> None:
    result = teach(base, opinions(32), replace(FAST, folds=3, epochs=5), tmp_path)
    assert len(result.fold_curves) == 3
    assert result.held_back is not None and result.held_back[1] == 32
    sizes = [len(part) for part in stratified([row.label for row in opinions(32)], 3, 0)]
    assert result.curve[-1].epoch == best_length(result.fold_curves, sizes, 5) <= 5
    assert {point.fold for curve in result.fold_curves for point in curve} == {1, 2, 3}
    assert usable_folds(["a"] * 3 + ["b"], 4) == 0
    assert usable_folds(["a", "b", "c", "d"] * 4, 5) == 4


# --- checkpoints -------------------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


@pytest.mark.parametrize("optimiser", ["adamw", "adafactor"])
@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_resumed_training_ends_byte_for_byte_as_an_undisturbed_one(
    base: Path, tmp_path: Path, after: int, optimiser: Any
) -> None:
    chosen = replace(FAST, folds=2, epochs=4, patience=4, dropout=0.2, base_dropout=True, optimiser=optimiser)
    whole = teach(base, opinions(24), chosen, tmp_path / "whole")
    kept: list[bytes] = []

    def watch(curve: Any, snapshot: Any) -> None:
        kept.append(snapshot())
        if len(kept) == after:
            raise Killed

    with pytest.raises(Killed):
        teach(base, opinions(24), chosen, tmp_path / "part", watch=watch)
    assert not (tmp_path / "part").exists()
    result = teach(base, opinions(24), chosen, tmp_path / "part", checkpoint=kept[-1])
    assert result.resumed
    assert (result.evened, result.points) == (whole.evened, whole.points)
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("whole", "part")]
    assert weights[0] == weights[1]


def test_a_causal_training_resumes_too(causal: Path, tmp_path: Path) -> None:
    chosen = replace(FAST, method="ia3", max_length=32, negatives=1)
    rows = [*opinions(16), Example("the cold bird", "cold")]
    kept: list[bytes] = []
    teach(causal, rows, chosen, tmp_path / "whole", watch=lambda _curve, snapshot: kept.append(snapshot()))
    teach(causal, rows, chosen, tmp_path / "part", checkpoint=kept[1])
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("whole", "part")]
    assert weights[0] == weights[1]


def test_a_foreign_or_broken_checkpoint_is_not_gone_on_with(base: Path, tmp_path: Path) -> None:
    kept: list[bytes] = []
    teach(base, opinions(16), FAST, tmp_path / "a", watch=lambda _curve, snapshot: kept.append(snapshot()))
    assert not teach(base, opinions(16), replace(FAST, seed=5), tmp_path / "b", checkpoint=kept[0]).resumed
    assert not teach(base, opinions(18), FAST, tmp_path / "c", checkpoint=kept[0]).resumed
    for broken in (b"", b"nonsense", kept[0][:-10], kept[0].replace(b"standing", b"stunding")):
        assert read_checkpoint(broken, "x") is None


# --- memory, precision, cost -------------------------------------------------------------------------------------------


def test_the_curve_of_a_lost_training_keeps_its_folds(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = descent._number, []

    def number(value: float, at: Any, what: str = "loss") -> float:
        calls.append(1)
        return plain(float("nan") if len(calls) > 30 and at.step else value, at, what)

    monkeypatch.setattr(descent, "_number", number)
    with pytest.raises(TrainingFault, match="lower learning rate") as caught:
        teach(base, opinions(16), replace(FAST, folds=2, epochs=5, patience=9, batch_size=4), tmp_path)
    assert {point.fold for point in caught.value.curve} == {1, 2}


def test_half_precision_learns_on_cpu_when_asked(base: Path, tmp_path: Path) -> None:
    result = teach(
        base, opinions(32), replace(FAST, precision="bfloat16", epochs=6), tmp_path, validation=opinions(16, 32)
    )
    assert result.best.validation_accuracy >= 0.7


def test_one_load_serves_many_trainings_and_stays_untouched(base: Path, tmp_path: Path) -> None:
    loaded = LoadedBase(base)
    loaded.model(2)
    before = {name: tensor.clone() for name, tensor in loaded._plain.state_dict().items()}
    for name in ("a", "b"):
        teach(loaded, opinions(24), replace(FAST, method="lora" if name == "a" else "ia3"), tmp_path / name)
    teach(base, opinions(24), replace(FAST, method="ia3"), tmp_path / "c")
    assert all(torch.equal(before[name], tensor) for name, tensor in loaded._plain.state_dict().items())
    files = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("b", "c")]
    assert files[0] == files[1]
    one, two = loaded.model(2), loaded.model(2)
    assert one.bert.embeddings.word_embeddings.weight is two.bert.embeddings.word_embeddings.weight


def test_the_estimate_grows_with_what_costs() -> None:
    mini = BaseSize.of({"hidden_size": 384, "num_hidden_layers": 6, "vocab_size": 30522}, 22_713_216, causal=False)
    small = BaseSize.of({"hidden_size": 576, "num_hidden_layers": 30, "vocab_size": 49152}, 134_515_008, causal=True)
    at = {"examples": 64, "letters": 60.0, "labels": 6}
    first = estimate(mini, Settings(), **at)
    assert 1 < first.seconds < 60
    assert 0.4 < first.memory / 2**30 < 1.2
    assert estimate(mini, Settings(), **at, folds=4).seconds > first.seconds
    assert estimate(mini, Settings(epochs=60), **at).flops > 5 * first.flops
    assert estimate(small, usual_settings("ia3", causal=True), **at).seconds > 5 * first.seconds
    assert estimate(mini, Settings(), **at, speed=1e12).seconds < first.seconds


def test_few_examples_get_enough_steps() -> None:
    for examples in (16, 32, 64, 256, 1000):
        for preset in ("lora", "ia3", "bias", "prompt"):
            chosen = usual_settings(preset, causal=False, examples=examples)
            chosen.check()
            assert chosen.passes(examples) * -(-examples // chosen.batch_size) >= 48
    assert usual_settings("t-few", causal=False, examples=16).steps == 1000


def test_settings_from_a_program() -> None:
    made = Settings.from_dict({"method": "ia3", "epochs": 3.0, "target_modules": ["key"]})
    assert (made.epochs, made.target_modules, made.learning_rate) == (3, ("key",), 1e-2)
    assert Settings.from_dict(made.to_dict()) == made
    assert Settings.from_dict({"method": "t-few"}).passes(64) == 125
    for raw in ({"method": "x"}, {"colour": 1}, {"epochs": 1.5}, {"epochs": True}, {"rank": "8"}, {"folds": 1},
                {"optimiser": "sgd"}, {"target_modules": "q"}):  # fmt: skip
        with pytest.raises(TrainingFault):
            Settings.from_dict(raw)
