"""Mixed batches, blended adapters and generation, against peft and transformers doing one at a time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adapters.runtime.adapter_files import AdapterFiles, read_adapter
from adapters.runtime.blending import blend
from adapters.runtime.errors import RuntimeFault
from adapters.runtime.generating import generate
from adapters.runtime.hidden import module_inputs
from adapters.runtime.mixed import MixedBatches
from adapters.runtime.runtime import Runtime
from merges.training.settings import Settings
from merges.training.teach import teach
from tests.pure.tiny_models import opinions, write_causal, write_deberta, write_encoder

QUICK = Settings(rank=4, epochs=1, batch_size=16, learning_rate=1e-2, max_length=24, patience=0)
TEXTS = [row.text for row in opinions(10)]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("mixed")
    base = write_encoder(place / "base")
    ways = {
        "one": {},
        "two": {"rank": 2, "seed": 2},
        "scaled": {"rslora": True, "seed": 3},
        "wide": {"target_modules": ("query", "dense")},
        "vectors": {"method": "ia3"},
    }
    for name, changes in ways.items():
        teach(base, opinions(32), replace(QUICK, **changes), place / name)
    return {"base": base, **{name: place / name for name in ways}}


def test_a_mixed_batch_equals_one_adapter_at_a_time(taught: dict[str, Path]) -> None:
    runtime = Runtime(taught["base"], max_length=32)
    mixed = MixedBatches(runtime)
    names = ("one", "two", "scaled", "wide")
    for name in names:
        runtime.attach(name, taught[name])
        assert mixed.add(name, read_adapter(taught[name])) and mixed.labels(name) == ("no", "yes")
    asked = [names[n % 4] for n in range(len(TEXTS))]
    found = mixed.logits(TEXTS, asked, batch_size=4)
    for text, name, logits in zip(TEXTS, asked, found, strict=True):
        assert logits == pytest.approx(runtime.logits([text], name)[0], abs=2e-5, rel=1e-4)
    assert not mixed.add("vectors", read_adapter(taught["vectors"]))
    mixed.remove("two")
    with pytest.raises(RuntimeFault, match="No adapter named two"):
        mixed.logits(TEXTS[:1], ["two"])
    bare = Runtime(taught["base"], max_length=32).features(TEXTS[:2])
    assert runtime.features(TEXTS[:2]) == pytest.approx(bare, abs=1e-6), "no hook is left behind"


def misfits(fitting: AdapterFiles) -> dict[str, AdapterFiles]:
    """Adapters like a fitting one, each wrong in one way."""
    name = next(name for name in fitting.tensors if name.endswith("lora_A.weight"))
    partner, head = name.replace("lora_A", "lora_B"), "base_model.model.classifier.weight"
    down, up, weight = fitting.tensors[name], fitting.tensors[partner], fitting.replaced[head]
    elsewhere = {
        each.replace("layer.1.", "layer.9."): tensor for each, tensor in fitting.tensors.items()
    }  # the first layer's modules are there, the second's are not
    return {
        "module": replace(fitting, tensors=elsewhere),
        "inputs": replace(fitting, tensors=fitting.tensors | {name: down[:, :-1].contiguous()}),
        "outputs": replace(fitting, tensors=fitting.tensors | {partner: up[:-1].contiguous()}),
        "rank": replace(fitting, tensors=fitting.tensors | {partner: up[:, :-1].contiguous()}),
        "head": replace(fitting, replaced=fitting.replaced | {head: weight[:, :-1].contiguous()}),
        "bias": replace(fitting, replaced=fitting.replaced | {head.replace("weight", "bias"): torch.zeros(7)}),
    }


def test_an_adapter_that_does_not_fit_is_refused_and_changes_nothing(taught: dict[str, Path]) -> None:
    runtime = Runtime(taught["base"], max_length=32)
    mixed = MixedBatches(runtime)
    fitting = read_adapter(taught["one"])
    assert mixed.add("one", fitting)
    before = mixed.logits(TEXTS, ["one"] * len(TEXTS))
    for name, files in misfits(fitting).items():
        assert not mixed.add(name, files), name
        with pytest.raises(RuntimeFault):
            runtime.attach_files(name, files)
        assert name not in mixed and name not in runtime.adapters
    after = mixed.logits(TEXTS, ["one"] * len(TEXTS))
    assert np.array_equal(np.stack(before), np.stack(after)), "nobody else's answers change"
    runtime.attach_files("one", fitting)  # nor is anything of theirs left among the attached
    assert runtime.logits(TEXTS, "one") == pytest.approx(np.stack(after), abs=2e-5, rel=1e-4)


def test_a_broken_call_leaves_no_update_on_the_base(taught: dict[str, Path]) -> None:
    runtime = Runtime(taught["base"], max_length=32)
    mixed = MixedBatches(runtime)
    assert mixed.add("one", read_adapter(taught["one"]))
    bare = runtime.features(TEXTS[:2])
    model, _ = runtime.model()
    hook = model.classifier.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        mixed.logits(TEXTS[:2], ["one"] * 2)
    hook.remove()
    assert np.array_equal(runtime.features(TEXTS[:2]), bare)


def test_a_base_whose_modules_read_other_things_than_rows_says_so(tmp_path: Path) -> None:
    base = write_deberta(tmp_path / "base")
    teach(base, opinions(16), replace(QUICK, target_modules=("query_proj",)), tmp_path / "one")
    mixed = MixedBatches(Runtime(base, max_length=32))
    assert mixed.add("one", read_adapter(tmp_path / "one"))
    with pytest.raises(RuntimeFault, match="one at a time"):
        mixed.logits(TEXTS[:2], ["one"] * 2)


def dense(files: AdapterFiles) -> dict[str, torch.Tensor]:
    from adapters.runtime.blending import _factors

    return {module: up @ down for module, (down, up) in _factors(files).items()}


def test_a_blend_is_the_weighted_sum_of_updates(taught: dict[str, Path]) -> None:
    parts = [read_adapter(taught[name]) for name in ("one", "two", "scaled")]
    weights = [0.5, 0.3, 0.2]
    made = blend(parts, weights)
    for module, value in dense(made).items():
        expected = sum(weight * dense(part)[module] for part, weight in zip(parts, weights, strict=True))
        assert torch.allclose(value, expected, atol=1e-5)
    runtime = Runtime(taught["base"], max_length=32)
    runtime.attach_files("blend", made)
    runtime.attach("one", taught["one"])
    alone = blend(parts[:1], [1.0])
    runtime.attach_files("alone", alone)
    assert runtime.logits(TEXTS, "alone") == pytest.approx(runtime.logits(TEXTS, "one"), abs=1e-5)
    with pytest.raises(RuntimeFault, match="different labels"):
        blend([parts[0], AdapterFiles(parts[1].config, parts[1].tensors, parts[1].replaced, ("a", "b"))], [0.5, 0.5])
    with pytest.raises(RuntimeFault, match="plain LoRA"):
        blend([read_adapter(taught["vectors"])], [1.0])


def test_inputs_of_modules(taught: dict[str, Path]) -> None:
    runtime = Runtime(taught["base"], max_length=32)
    module = "bert.encoder.layer.0.attention.self.query"
    found = module_inputs(runtime, TEXTS[:3], {module, "no.such.module"}, batch_size=2)
    assert set(found) == {module} and len(found[module]) == 3
    alone = module_inputs(runtime, TEXTS[1:2], {module})[module][0]
    assert found[module][1] == pytest.approx(alone, abs=1e-5), "padding is not among the tokens"


def test_generation_is_transformers_own(tmp_path: Path) -> None:
    base = write_causal(tmp_path / "base")
    runtime = Runtime(base)
    asked = [{"role": "user", "content": "the good dog"}]
    parts = list(generate(runtime, asked, most=8))
    text = "".join(part for part, _ in parts)
    assert parts[-1][0] == "" and parts[-1][1] in ("stop", "length")
    model, _ = runtime.model()
    ids = runtime.tokenizer("the good dog", return_tensors="pt")["input_ids"]
    ours = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)[
        0, ids.shape[1] :
    ]
    assert text == runtime.tokenizer.decode(ours, skip_special_tokens=True)
    drawn = [
        "".join(part for part, _ in generate(runtime, asked, most=8, temperature=1.5, seed=seed)) for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1]
    teach(base, opinions(16), QUICK, tmp_path / "talk")
    runtime.attach("talk", tmp_path / "talk")
    assert list(generate(runtime, asked, adapter="talk", most=3))
    with pytest.raises(RuntimeFault, match="tokens"):
        list(generate(runtime, [{"role": "user", "content": "dog " * 100}], most=3))
    with pytest.raises(RuntimeFault, match="does not continue"):
        list(generate(Runtime(base, task="classify"), asked))
    assert np.isfinite(runtime.label_scores(["the good dog"], ["yes", "no"], adapter="talk")).all()
