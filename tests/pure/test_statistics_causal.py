"""Fisher and Grams of causal models, embeddings and convolutions against autograd, one example at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from adapters.runtime.errors import RuntimeFault
from adapters.runtime.examples import Example
from adapters.runtime.prompts import prompt_of
from adapters.runtime.runtime import Runtime
from merges.statistics.layers import ConvolutionHooks, LinearHooks, Measured
from merges.statistics.measuring import Estimator, measure
from tests.pure.tiny_models import opinions, write_causal, write_encoder

LABELS = ["yes", "no", "good movie"]
ROWS = opinions(4)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """A tiny causal base with a random LoRA on its attention and its embedding."""
    folder = tmp_path_factory.mktemp("causal")
    base = write_causal(folder / "base")
    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.normal_(std=0.1)
    model.save_pretrained(folder / "adapter")
    loaded = Runtime(base)
    loaded.attach("one", folder / "adapter")
    return loaded


class Probes:
    """A zero matrix added to what each adapted layer does: its gradient is that of ΔW, slow and plain."""

    def __init__(self, model: Any) -> None:
        self.values: dict[str, torch.Tensor] = {}
        self._handles = []
        for name, module in model.named_modules():
            site = name.removeprefix("base_model.model.")
            if getattr(module, "lora_embedding_A", None):
                base = module.get_base_layer()
                self.values[site] = torch.zeros(base.embedding_dim, base.num_embeddings, requires_grad=True)
                self._handles.append(module.register_forward_hook(
                    lambda _m, inputs, output, site=site: output + self.values[site].T[inputs[0]]
                ))  # fmt: skip
            elif getattr(module, "lora_A", None):
                self.values[site] = torch.zeros(module.out_features, module.in_features, requires_grad=True)
                self._handles.append(module.register_forward_hook(
                    lambda _m, inputs, output, site=site: output + inputs[0] @ self.values[site].T
                ))  # fmt: skip

    def squares(self, value: torch.Tensor) -> dict[str, np.ndarray]:
        found = torch.autograd.grad(value, list(self.values.values()), retain_graph=True)
        return {name: one.double().numpy() ** 2 for name, one in zip(self.values, found, strict=True)}

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


def ids_of(runtime: Runtime, row: Example, label: str) -> tuple[list[int], list[int]]:
    head = runtime.tokenizer(prompt_of(row.text))["input_ids"]
    tail = runtime.tokenizer(" " + label, add_special_tokens=False)["input_ids"]
    return head, [*tail, runtime.tokenizer.eos_token_id]


def log_probabilities(model: Any, ids: list[int]) -> torch.Tensor:
    """log p of every token of the vocabulary at every place behind the first: (places, vocabulary)."""
    return torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, :-1].float(), dim=1)


def label_scores(runtime: Runtime, model: Any, row: Example) -> torch.Tensor:
    sums = []
    for label in LABELS:
        head, tail = ids_of(runtime, row, label)
        places = log_probabilities(model, [*head, *tail])[len(head) - 1 :]
        sums.append(places[torch.arange(len(tail)), torch.tensor(tail)].sum())
    return torch.log_softmax(torch.stack(sums), dim=0)


def added(sums: dict[str, np.ndarray], squares: dict[str, np.ndarray], share: float) -> None:
    for name, value in squares.items():
        sums[name] = sums.get(name, 0.0) + share * value


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("estimator", ["exact", "empirical"])
def test_labels_as_continuations(
    estimator: Estimator, together: bool, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_together", together)
    found = measure(runtime, "one", ROWS, LABELS, estimator=estimator, gram="none").fishers()
    model = runtime.model("one")[0]
    probes, sums = Probes(model), dict[str, np.ndarray]()
    for row in ROWS:
        scores = label_scores(runtime, model, row)
        for number, label in enumerate(LABELS):
            if estimator == "exact":
                added(sums, probes.squares(scores[number]), float(scores[number].detach().exp()))
            elif label == row.label:
                added(sums, probes.squares(scores[number]), 1.0)
    probes.remove()
    assert set(found) == set(sums) >= {"model.embed_tokens", "model.layers.0.self_attn.q_proj"}
    for name, value in sums.items():
        np.testing.assert_allclose(found[name], value / len(ROWS), rtol=5e-3, atol=1e-7)


def test_the_next_tokens_that_stand_there(runtime: Runtime) -> None:
    found = measure(runtime, "one", ROWS, [], estimator="empirical", likelihood="next_token", gram="none").fishers()
    model = runtime.model("one")[0]
    probes, sums = Probes(model), dict[str, np.ndarray]()
    for row in ROWS:
        head, tail = ids_of(runtime, row, row.label)
        ids = [*head, *tail]
        places = log_probabilities(model, ids)
        added(sums, probes.squares(places[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum()), 1.0)
    probes.remove()
    for name, value in sums.items():
        np.testing.assert_allclose(found[name], value / len(ROWS), rtol=5e-3, atol=1e-7)


def test_drawn_next_tokens_approach_the_sum_over_all_of_them(runtime: Runtime) -> None:
    """Exactly: at every place the sum over the vocabulary of p · (∂ log p)²."""
    rows = ROWS[:2]
    model = runtime.model("one")[0]
    probes, sums = Probes(model), dict[str, np.ndarray]()
    for row in rows:
        head, tail = ids_of(runtime, row, row.label)
        for place in log_probabilities(model, [*head, *tail]):
            for score in place:
                added(sums, probes.squares(score), float(score.detach().exp()))
    probes.remove()
    draws = [
        measure(runtime, "one", rows, [], estimator="sampled", likelihood="next_token", gram="none", seed=n).fishers()
        for n in range(60)
    ]
    again = measure(runtime, "one", rows, [], estimator="sampled", likelihood="next_token", gram="none", seed=7)
    for name, value in sums.items():
        np.testing.assert_array_equal(again.fishers()[name], draws[7][name])
        totals = [float(draw[name].sum()) for draw in draws]
        spread = float(np.std(totals)) / len(totals) ** 0.5
        assert abs(np.mean(totals) - value.sum() / len(rows)) < 4 * spread


def test_grams_are_of_the_prompt_with_its_own_label(runtime: Runtime) -> None:
    model, site = runtime.model("one")[0], "model.layers.1.self_attn.q_proj"
    seen, counted = [], torch.zeros(model.get_input_embeddings().get_base_layer().num_embeddings)
    handle = model.get_submodule(f"base_model.model.{site}").register_forward_hook(
        lambda _m, inputs, _o: seen.append(inputs[0].detach()[0])
    )
    for row in ROWS:
        head, tail = ids_of(runtime, row, row.label)
        model(input_ids=torch.tensor([[*head, *tail]]))
        counted += torch.bincount(torch.tensor([*head, *tail]), minlength=len(counted))
    handle.remove()
    values = torch.cat(seen).double().numpy()
    for likelihood in ("label", "next_token"):
        found = measure(runtime, "one", ROWS, LABELS, fisher=False, likelihood=likelihood)  # type: ignore[arg-type]
        assert found.tokens == len(values)
        np.testing.assert_allclose(found.grams()[site], values.T @ values / len(values), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.grams()["model.embed_tokens"], counted / len(values), rtol=1e-6)


def test_what_cannot_be_measured_is_said(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(RuntimeFault, match="too many tokens"):
        measure(runtime, "one", ROWS, LABELS, likelihood="next_token")
    encoder = Runtime(write_encoder(tmp_path / "encoder"))
    with pytest.raises(RuntimeFault, match="no next token"):
        measure(encoder, "one", ROWS, LABELS, estimator="sampled", likelihood="next_token")


@pytest.mark.parametrize("flat", [True, False])
def test_a_convolution_is_a_linear_layer_on_patches(flat: bool) -> None:
    torch.manual_seed(0)
    if flat:
        layer: Any = torch.nn.Conv1d(3, 4, 3, stride=2, padding=1, dilation=2, bias=False)
        x = torch.randn(5, 3, 11)
    else:
        layer = torch.nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), bias=False)
        x = torch.randn(5, 3, 7, 6)
    layer.get_base_layer = lambda: layer
    layer.lora_A = {}
    measured = Measured(examples=5, tokens=1)
    with ConvolutionHooks("w", layer, measured, True, "full") as hooks:
        hooks.mask, hooks.weights = torch.ones(5), torch.ones(5)
        (layer(x) ** 2).sum().backward()
    wanted = torch.zeros(4, layer.weight[0].numel())
    for one in x:
        gradient = torch.autograd.grad((layer(one[None]) ** 2).sum(), layer.weight)[0]
        wanted += gradient.reshape(4, -1) ** 2 / 5
    np.testing.assert_allclose(measured.fishers()["w"], wanted, rtol=1e-3, atol=1e-6)
    energy = float((layer(x) ** 2).sum())
    flat_weights = layer.weight.detach().reshape(4, -1).numpy()
    assert np.trace(flat_weights @ measured.grams()["w"] @ flat_weights.T) == pytest.approx(energy, rel=1e-4)


def test_transposed_linear_layers_are_measured_too(tmp_path: Path) -> None:
    """GPT-2 keeps its weights turned; what a LoRA does there is linear all the same."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from merges.statistics.layers import hooks_on

    model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=16, n_embd=16, n_layer=1, n_head=2))
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True))
    hooks = hooks_on(adapted, Measured(), True, "none")
    assert [type(one) for one in hooks] == [LinearHooks]
