"""Fisher and Grams against closed forms and autograd, one example at a time."""

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import IA3Config, LoraConfig, PeftConfig, get_peft_model
from transformers import AlbertConfig, AlbertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from adapters.runtime.examples import Example
from adapters.runtime.runtime import Runtime
from merges.recipes import parse
from merges.running import LocalAdapter, run
from merges.statistics import reading
from merges.statistics.layers import LinearHooks, Measured, hooks_on
from merges.statistics.measuring import Estimator, measure
from merges.statistics.sidecar_files import files_of
from merges.training.settings import Settings
from merges.training.teach import teach
from tests.pure.tiny_models import opinions, write_encoder


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("statistics")
    base = write_encoder(folder / "base")
    made = {}
    for method in ("lora", "ia3"):
        teach(base, opinions(24), Settings(method=method, epochs=1, seed=1), folder / method, base_name="acme/tiny")
        made[method] = folder / method
    return base, made


def attached(base: Path, adapter: Path) -> Runtime:
    runtime = Runtime(base)
    runtime.attach("one", adapter)
    return runtime


def test_an_injected_lack_of_memory_halves_the_batch(
    taught: tuple[Path, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator's error raised where a batch is made ready for the device: no GPU is at hand here."""
    runtime, rows, sizes = attached(taught[0], taught[1]["lora"]), opinions(11), list[int]()
    labels = list(runtime.labels("one") or ())
    expected = measure(runtime, "one", rows, labels, estimator="sampled")
    ready = reading.encode

    def small(tokenizer: object, texts: list[str], *more: object) -> object:
        sizes.append(len(texts))
        if len(texts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory (raised by a test).")
        return ready(tokenizer, texts, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "encode", small)
    found = measure(runtime, "one", rows, labels, estimator="sampled")
    assert sizes[:4] == [8, 4, 2, 2]
    assert (found.examples, found.tokens) == (expected.examples, expected.tokens)
    for name, value in expected.fishers().items():
        np.testing.assert_allclose(found.fishers()[name], value, rtol=1e-3, atol=1e-9)


def by_autograd(
    runtime: Runtime, rows: list[Example], estimator: Estimator, labels: list[str]
) -> dict[str, np.ndarray]:
    """Per-example gradients of log p in ΔW, by adding a zero matrix to each adapted layer's output: slow and plain."""
    model, forward = runtime.differentiable("one")
    layers = {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if getattr(module, "lora_A", None)
    }
    probes = {name: torch.zeros(m.out_features, m.in_features, requires_grad=True) for name, m in layers.items()}
    handles = [
        module.register_forward_hook(lambda _m, inputs, output, name=name: output + inputs[0] @ probes[name].T)
        for name, module in layers.items()
    ]
    sums = {name: np.zeros(tuple(probe.shape)) for name, probe in probes.items()}
    for row in rows:
        tokens = runtime.tokenizer([row.text], return_tensors="pt")
        scores = torch.log_softmax(forward(**tokens).logits, dim=1)[0]
        for number in range(len(scores)):
            if estimator == "empirical" and labels[number] != row.label:
                continue
            gradients = torch.autograd.grad(scores[number], list(probes.values()), retain_graph=True)
            share = 1.0 if estimator == "empirical" else float(scores[number].exp())
            for name, gradient in zip(probes, gradients, strict=True):
                sums[name] += share * gradient.double().numpy() ** 2
    for handle in handles:
        handle.remove()
    return {name: value / len(rows) for name, value in sums.items()}


@pytest.mark.parametrize("estimator", ["exact", "empirical"])
def test_the_fisher_is_the_mean_of_squared_per_example_gradients(
    estimator: Estimator, taught: tuple[Path, dict[str, Path]]
) -> None:
    base, made = taught
    runtime, rows = attached(base, made["lora"]), opinions(10)
    labels = list(runtime.labels("one") or ())
    found = measure(runtime, "one", rows, labels, estimator=estimator, gram="none").fishers()
    wanted = by_autograd(runtime, rows, estimator, labels)
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-3, atol=1e-9)


def test_a_logistic_regression_has_its_closed_form() -> None:
    """mean x_j² p(1 − p) for each of two labels."""
    torch.manual_seed(0)
    linear, x = torch.nn.Linear(4, 2, bias=False), torch.randn(50, 4)
    linear.lora_A, linear.lora_B = {}, {}  # type: ignore[assignment]  # what an adapted layer has
    measured = Measured(examples=50)
    with LinearHooks("w", linear, measured, True, "none") as layer:
        scores = torch.log_softmax(linear(x), dim=1)
        for label in range(2):
            layer.weights = scores[:, label].exp().detach()
            scores[:, label].sum().backward(retain_graph=True)
    p = scores.exp().detach()
    closed = (x.square() * (p[:, :1] * p[:, 1:])).mean(0).numpy()
    np.testing.assert_allclose(measured.fishers()["w"], np.stack([closed, closed]), rtol=1e-4)


def test_sampling_labels_approaches_the_exact_fisher(taught: tuple[Path, dict[str, Path]]) -> None:
    base, made = taught
    runtime, rows = attached(base, made["lora"]), opinions(6)
    labels = list(runtime.labels("one") or ())
    exact = measure(runtime, "one", rows, labels, gram="none").fishers()
    drawn = [
        measure(runtime, "one", rows, labels, estimator="sampled", seed=n, gram="none").fishers() for n in range(40)
    ]
    same = measure(runtime, "one", rows, labels, estimator="sampled", seed=3, gram="none").fishers()
    for name, value in exact.items():
        np.testing.assert_array_equal(drawn[3][name], same[name])
        mean = np.mean([one[name].sum() for one in drawn])
        spread = np.std([one[name].sum() for one in drawn]) / 40**0.5
        assert abs(mean - value.sum()) < 4 * spread + 1e-9


def test_grams_are_moments_of_what_the_layers_see(taught: tuple[Path, dict[str, Path]]) -> None:
    base, made = taught
    runtime, rows = attached(base, made["lora"]), opinions(10)
    model, forward = runtime.differentiable("one")
    name, module = next((n, m) for n, m in model.named_modules() if getattr(m, "lora_A", None))
    seen = []
    handle = module.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].detach()[0]))
    for row in rows:
        forward(**runtime.tokenizer([row.text], return_tensors="pt"))
    handle.remove()
    stacked = torch.cat(seen).double().numpy()
    wanted = stacked.T @ stacked / len(stacked)
    site = name.removeprefix("base_model.model.")
    full = measure(runtime, "one", rows, [], fisher=False).grams()
    diagonal = measure(runtime, "one", rows, [], fisher=False, gram="diagonal").grams()
    np.testing.assert_allclose(full[site], wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(diagonal[site], wanted.diagonal(), rtol=1e-4, atol=1e-6)


def test_ia3_vectors_have_a_fisher_of_their_own(taught: tuple[Path, dict[str, Path]]) -> None:
    base, made = taught
    runtime, rows = attached(base, made["ia3"]), opinions(5)
    labels = list(runtime.labels("one") or ())
    found = measure(runtime, "one", rows, labels, gram="none").fishers()
    model, forward = runtime.differentiable("one")
    vectors = {name: value for name, value in model.named_parameters() if "ia3_l" in name}
    for value in vectors.values():
        value.requires_grad_(True)
    sums = {name: torch.zeros(value.numel()) for name, value in vectors.items()}
    for row in rows:
        scores = torch.log_softmax(forward(**runtime.tokenizer([row.text], return_tensors="pt")).logits, dim=1)[0]
        for number in range(len(scores)):
            gradients = torch.autograd.grad(scores[number], list(vectors.values()), retain_graph=True)
            for name, gradient in zip(vectors, gradients, strict=True):
                sums[name] += scores[number].exp().detach() * gradient.flatten() ** 2
    assert len(found) == len(vectors)
    for name, total in sums.items():
        site = name.removeprefix("base_model.model.").partition(".ia3_l")[0]
        np.testing.assert_allclose(found[site], (total / len(rows)).numpy(), rtol=2e-3, atol=1e-9)


class ReadTwice(torch.nn.Module):
    """One embedding and one layer for two texts, one of which does not pass the layer a second time."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.score = torch.nn.Embedding(20, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 2)

    def forward(self, input_ids: torch.Tensor) -> SimpleNamespace:
        one, other = torch.tanh(self.mix(self.embed(input_ids))), self.embed(input_ids.flip(1)[:, :3])
        self.mix(other)
        return SimpleNamespace(logits=self.score(torch.tanh(self.mix(one)).mean(1) * other.mean(1)))


def shared_or_turned(kind: str) -> tuple[torch.nn.Module, PeftConfig]:
    sizes = {"vocab_size": 20, "initializer_range": 0.3}
    if kind.startswith("albert"):
        small = {"embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
        albert = AlbertForSequenceClassification(AlbertConfig(**small, intermediate_size=24, **sizes))
        names = ["query", "ffn", "ffn_output"]
        if kind == "albert ia3":
            return albert, IA3Config(target_modules=names, feedforward_modules=["ffn_output"])
        return albert, LoraConfig(r=2, target_modules=names, lora_bias=True)
    if kind == "twice":
        return ReadTwice(), LoraConfig(r=2, target_modules=["embed", "mix"])
    model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=16, **sizes))
    names = ["c_attn", "mlp.c_proj"]
    return model, IA3Config(target_modules=names, feedforward_modules=["mlp.c_proj"], fan_in_fan_out=True)


@pytest.mark.parametrize("kind", ["albert", "albert ia3", "twice", "gpt2 ia3"])
def test_layers_called_often_and_turned_ones_have_the_fisher_of_autograd(kind: str) -> None:
    torch.manual_seed(0)
    made, config = shared_or_turned(kind)
    model: Any = get_peft_model(made, config).eval()  # type: ignore[arg-type]
    ids, measured = torch.randint(20, (4, 7)), Measured(examples=4)

    def outcome(rows: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=rows).logits
        return torch.log_softmax(logits if logits.dim() == 2 else logits[:, -1], dim=1)[:, 0].sum()

    with ExitStack() as stack:
        layers = [stack.enter_context(layer) for layer in hooks_on(model, measured, True, "none")]
        for layer in layers:
            layer.weights = torch.ones(4)
        outcome(ids).backward()
        for layer in layers:
            layer.settle()
    found = measured.fishers()
    for name, module in model.named_modules():
        site = name.removeprefix("base_model.model.")
        if site not in found:
            continue
        vector = getattr(module, "ia3_l", None)
        parts = {site: vector["default"] if vector else module.get_base_layer().weight}
        if f"{site}.bias" in found:
            parts[f"{site}.bias"] = module.get_base_layer().bias
        for part, weight in parts.items():
            weight.requires_grad_(True)
            wanted = sum(torch.autograd.grad(outcome(row[None]), weight)[0].double() ** 2 / 4 for row in ids)
            value = torch.as_tensor(wanted).numpy()
            value = value.T if getattr(module, "lora_embedding_A", None) else value.reshape(found[part].shape)
            np.testing.assert_allclose(found.pop(part), value, rtol=2e-3, atol=1e-12, err_msg=part)
    assert layers
    assert not found


def test_what_is_published_is_what_merges_read(taught: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    """Two adapters, their sidecars written and merged by Fisher and RegMean: the loop other hubs never closed."""
    import hashlib

    base, made = taught
    teach(base, opinions(24, start=5), Settings(epochs=1, seed=2), tmp_path / "two", base_name="acme/tiny")
    inputs = []
    for number, folder in enumerate((made["lora"], tmp_path / "two")):
        runtime = attached(base, folder)
        measured = measure(runtime, "one", opinions(8), list(runtime.labels("one") or ()))
        prototype = runtime.features([row.text for row in opinions(8)], normalise=True).mean(0)
        sha256 = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
        for path, data in files_of(measured.fishers(), measured.grams(), prototype, {"weights_sha256": sha256}).items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(data)
        inputs.append(LocalAdapter(f"a/{number}", folder))
    for method in ("fisher", "regmean", "soft_moe"):
        recipe = parse({"merge_method": method, "inputs": [item.name for item in inputs]})
        report = run(recipe, inputs, tmp_path / method, lambda *_: None)
        assert report.totals.norm > 0
