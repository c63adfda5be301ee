"""Our reading of a configuration against the library's own: same targets, same ranks, and what we hand on loads."""

import json
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.formats.inspect import inspect_adapter
from adapters.formats.modules import adapted_modules
from adapters.formats.peft_config import parse_config
from adapters.formats.safetensors_header import read_header
from tests.make_adapters import base_config, ia3_config, ia3_tensors, lora_config, lora_tensors, write_adapter

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
from peft.tuners.tuners_utils import check_target_module_exists  # noqa: E402
from peft.utils.other import get_pattern_key  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import BertConfig, BertForSequenceClassification  # noqa: E402

torch.set_num_threads(1)
NAMES = st.sampled_from(["query", "key", "self.query", "dense", "output.dense", "layer.1", "y"])
MODULES = st.sampled_from(
    [
        "query",
        "bert.encoder.layer.0.attention.self.query",
        "bert.encoder.layer.1.attention.self.query",
        "bert.encoder.layer.1.attention.output.dense",
        "model.layers.10.mlp.experts.1.dense",
        "classifier.dense",
        "xquery",
        "layer.1.query",
        "layers.0.layer.1.query",
        "encoder.layer.2.query.1.dense",
    ]
)


@settings(max_examples=200)
@given(
    st.one_of(
        st.lists(NAMES, min_size=1, max_size=3), st.sampled_from([r".*\.(query|dense)", r".*layer\.1\..*", "query"])
    ),
    st.one_of(st.none(), st.lists(NAMES, max_size=2), st.just(r".*output.*")),
    st.one_of(st.none(), st.lists(st.integers(0, 2), min_size=1, max_size=2)),
    st.sampled_from([None, [], ["layer"], "layers", ["encoder.layer"], ["layers", "layer"], ["layer", "layers"]]),
    MODULES,
)
def test_targets_are_the_librarys(
    targets: list[str] | str, excluded: list[str] | str | None, layers: list[int] | None, pattern: object, module: str
) -> None:
    keys: dict = {"target_modules": targets, "exclude_modules": excluded, "modules_to_save": ["classifier"]}
    if not isinstance(targets, str) and layers is not None:
        keys |= {"layers_to_transform": layers, "layers_pattern": pattern}
    ours = parse_config(json.dumps(lora_config(**keys)).encode()).targets(module)
    theirs = check_target_module_exists(peft.LoraConfig(**keys), module)
    excluded_by_them = type(theirs).__name__ == "_ExcludedModule"
    if not module.startswith("classifier"):
        assert ours == (bool(theirs) and not excluded_by_them)


@given(st.lists(st.sampled_from(["query", r"layer\.\d", r".*self\.query", "dense", "y", "e"]), unique=True), MODULES)
def test_patterns_are_looked_up_as_the_library_does(patterns: list[str], module: str) -> None:
    ranks = {text: 10 + number for number, text in enumerate(patterns)}
    config = parse_config(json.dumps(lora_config(rank_pattern=ranks)).encode())
    assert config.rank_of(module) == ranks.get(get_pattern_key(list(ranks), module), 2)


@pytest.mark.parametrize(
    ("config", "tensors"),
    [
        (lora_config(), lora_tensors()),
        (lora_config(target_modules=r".*self\.(query|value)", use_rslora=True), lora_tensors()),
        (lora_config(target_modules=["query", "value"], r=4, rank_pattern={"self.query|value": 2}), lora_tensors()),
        (ia3_config(), ia3_tensors()),
        (
            ia3_config(target_modules=r".*(key|value|output\.dense)", feedforward_modules=r".*output\.dense"),
            ia3_tensors(),
        ),
    ],
)
def test_what_is_handed_on_gives_the_same_tensors(config: dict, tensors: dict, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path, config, tensors)
    weights = folder / "adapter_model.safetensors"
    header = read_header(weights)
    parsed = parse_config((folder / "adapter_config.json").read_bytes())
    handed_on = json.loads(parsed.sanitised(adapted_modules(header, parsed)))
    model = peft.get_peft_model(
        BertForSequenceClassification(BertConfig(**base_config(), num_labels=3)),
        peft.PeftConfig.from_peft_type(**handed_on),
    )
    result = peft.set_peft_model_state_dict(model, load_file(weights))
    assert result.unexpected_keys == []
    written = peft.get_peft_model_state_dict(model)
    assert {name: tuple(value.shape) for name, value in written.items()} == {
        name: info.shape for name, info in header.tensors.items()
    }


@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "word_embeddings"]),
        peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules="all-linear", use_dora=True, bias="lora_only"),
        peft.IA3Config(task_type="SEQ_CLS"),
        peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3),
    ],
    ids=["lora", "dora", "ia3", "prompt"],
)
def test_what_the_library_saves_is_sound(config: object, tmp_path: Path) -> None:
    base = BertForSequenceClassification(BertConfig(**base_config(), num_labels=3))
    base.save_pretrained(tmp_path / "base")
    model = peft.get_peft_model(base, config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    found = inspect_adapter(
        (tmp_path / "adapter" / "adapter_config.json").read_bytes(),
        tmp_path / "adapter" / "adapter_model.safetensors",
        read_header(tmp_path / "base" / "model.safetensors"),
    )
    assert found.passed, found.findings
    assert found.finding("fits_base").verdict == "pass"
    trainable, _ = model.get_nb_trainable_parameters()
    assert found.facts["trained_parameters"] == trainable
