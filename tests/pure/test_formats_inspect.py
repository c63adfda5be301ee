"""Inspection: facts that can be checked by hand, and one finding for each way an adapter can be unsound."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from adapters.formats import patterns
from adapters.formats.inspect import inspect_adapter, inspect_base
from adapters.formats.modules import BaseIndex, adapted_modules, role_of
from adapters.formats.peft_config import parse_config
from adapters.formats.safetensors_header import Header, read_header
from adapters.runtime.adapter_files import read_adapter
from adapters.runtime.errors import RuntimeFault
from tests import make_adapters
from tests.make_adapters import ia3_config, ia3_tensors, lora_config, lora_tensors, write_adapter, write_base

UNSOUND = make_adapters.unsound_adapters()


def look(folder: Path, base: Header | None):
    return inspect_adapter((folder / "adapter_config.json").read_bytes(), folder / "adapter_model.safetensors", base)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Header:
    return read_header(write_base(tmp_path_factory.mktemp("base")) / "model.safetensors")


def test_a_sound_lora_passes_everything(tmp_path: Path, base: Header) -> None:
    found = look(write_adapter(tmp_path), base)
    assert [finding.verdict for finding in found.findings] == ["pass"] * 8, found.findings
    assert found.facts["method"] == "LoRA"
    assert (found.facts["rank"], found.facts["alpha"], found.facts["scaling"]) == (2, 4, 2.0)
    assert found.facts["target_modules"] == ["query", "value"]
    assert found.facts["module_count"] == 4
    assert found.facts["trained_parameters"] == 4 * (2 * 8 + 8 * 2) + 27
    assert found.facts["heads"] == [{"module": "classifier", "outputs": 3, "parameters": 27}]
    assert found.facts["share_of_base"] == found.facts["trained_parameters"] / found.facts["base_parameters"]
    assert found.facts["bytes"] == (tmp_path / "adapter_model.safetensors").stat().st_size
    assert ["base_model.model.classifier.bias", "F32", [3]] in found.facts["tensors"]
    json.dumps(found.facts)


def test_a_sound_ia3_passes_everything(tmp_path: Path, base: Header) -> None:
    found = look(write_adapter(tmp_path, ia3_config(), ia3_tensors()), base)
    assert found.passed, found.findings
    assert {finding.verdict for finding in found.findings} == {"pass"}
    assert found.facts["method"] == "IA3"
    assert found.facts["module_count"] == 8


@pytest.mark.parametrize("name", UNSOUND)
def test_unsound_adapter_is_found_out(name: str, tmp_path: Path, base: Header) -> None:
    config, tensors, finding_name, verdict = UNSOUND[name]
    found = look(write_adapter(tmp_path, config, tensors), base)
    finding = found.finding(finding_name)
    assert finding is not None
    assert finding.verdict == verdict
    assert finding.summary.endswith(".")
    others = [item for item in found.findings if item.name != finding_name and item.verdict == "fail"]
    allowed = {"complete"} if name in ("adapter_name_left", "wrong_width") else set()
    assert {item.name for item in others} <= allowed, others


def test_both_shapes_are_named(tmp_path: Path, base: Header) -> None:
    found = look(write_adapter(tmp_path, tensors=lora_tensors(width=16)), base)
    finding = found.finding("fits_base")
    assert finding.details["module"] == "bert.encoder.layer.0.attention.self.query"
    assert (finding.details["adapter_shape"], finding.details["base_shape"]) == ([2, 16], [8, 8])
    assert "2×16" in finding.summary
    assert "8×8" in finding.summary


def test_an_unknown_base_is_a_warning(tmp_path: Path) -> None:
    finding = look(write_adapter(tmp_path), None).finding("fits_base")
    assert finding.verdict == "warn"
    assert "acme/tiny-bert" in finding.summary


@pytest.mark.parametrize("prefix", ["", "bert.", "model.bert.", "roberta."])
def test_bases_with_other_prefixes_still_fit(prefix: str, tmp_path: Path) -> None:
    header = read_header(write_base(tmp_path / "base", prefix) / "model.safetensors")
    assert look(write_adapter(tmp_path / "adapter"), header).finding("fits_base").verdict == "pass"


def test_layer_numbers_are_never_dropped(base: Header) -> None:
    index = BaseIndex(base)
    assert index.weight("bert.encoder.layer.1.attention.self.query") is not None
    assert index.weight("encoder.layer.1.attention.self.query") is not None
    assert index.weight("bert.encoder.layer.2.attention.self.query") is None
    assert index.weight("self.query") is None


def test_a_base_of_another_kind_does_not_fit(tmp_path: Path) -> None:
    header = read_header(write_base(tmp_path / "base") / "model.safetensors")
    other = {name.replace("layer", "block"): info for name, info in header.tensors.items()}
    finding = look(write_adapter(tmp_path / "adapter"), Header(other)).finding("fits_base")
    assert finding.verdict == "fail"
    assert len(finding.details["missing"]) == 4


def test_hostile_weights_become_a_finding(tmp_path: Path, base: Header) -> None:
    folder = write_adapter(tmp_path)
    for data, code in make_adapters.hostile_weights().values():
        (folder / "adapter_model.safetensors").write_bytes(data)
        finding = look(folder, base).finding("valid_weights")
        assert (finding.verdict, finding.details["code"]) == ("fail", code)


def test_hostile_configs_become_a_finding_and_weights_are_still_judged(tmp_path: Path, base: Header) -> None:
    folder = write_adapter(tmp_path)
    for data, code in make_adapters.hostile_configs().values():
        (folder / "adapter_config.json").write_bytes(data)
        found = look(folder, base)
        assert (found.finding("valid_config").verdict, found.finding("valid_config").details["code"]) == ("fail", code)
        assert found.finding("finite").verdict == "pass"


def test_half_precision_not_a_number_is_counted(tmp_path: Path, base: Header) -> None:
    tensors = {name: values.astype(np.float16) for name, values in lora_tensors().items()}
    next(iter(tensors.values()))[0, :3] = np.nan
    finding = look(write_adapter(tmp_path, tensors=tensors), base).finding("finite")
    assert (finding.verdict, finding.details["nan"]) == ("fail", 3)


def test_untouched_ia3_is_called_untrained(tmp_path: Path, base: Header) -> None:
    tensors = {name: np.ones_like(values) if "ia3_l" in name else values for name, values in ia3_tensors().items()}
    assert look(write_adapter(tmp_path, ia3_config(), tensors), base).finding("not_all_zero").verdict == "warn"


def test_roles_of_the_names_that_peft_writes() -> None:
    config = parse_config(json.dumps(lora_config(bias="lora_only")).encode())
    stem = "base_model.model.bert.encoder.layer.0.attention.self.query"
    parts = {
        f"{stem}.lora_A.weight": "lora_A",
        f"{stem}.lora_B.weight": "lora_B",
        f"{stem}.lora_B.bias": "lora_bias",
        f"{stem}.lora_magnitude_vector": "lora_magnitude_vector",
        f"{stem}.base_layer.bias": "base_copy",
        "base_model.model.bert.embeddings.word_embeddings.lora_embedding_A": "lora_embedding_A",
        "base_model.model.bert.embeddings.word_embeddings.lora_embedding_B": "lora_embedding_B",
        "base_model.model.lm_head.base_layer.weight": "base_copy",
        "base_model.model.classifier.weight": "head",
        "base_model.model.classifier.modules_to_save.bias": "head",
        "base_model.model.score.weight": "head",
        f"{stem}.ia3_l": "unknown",
        f"{stem}.lora_A.default.weight": "unknown",
        "prompt_embeddings": "unknown",
        "bert.encoder.layer.0.attention.self.query.lora_A.weight": "unknown",
    }
    assert {name: role_of(name, config).part for name in parts} == parts


def test_adapted_modules_are_what_peft_needs(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path)
    config = parse_config((folder / "adapter_config.json").read_bytes())
    modules = adapted_modules(read_header(folder / "adapter_model.safetensors"), config)
    assert modules[0] == "bert.encoder.layer.0.attention.self.query"
    assert len(modules) == 4


def test_base_facts(tmp_path: Path) -> None:
    folder = write_base(tmp_path)
    header = read_header(folder / "model.safetensors")
    found = inspect_base((folder / "config.json").read_bytes(), {"model.safetensors": header})
    assert found.passed
    assert found.facts["model_type"] == "bert"
    assert found.facts["embedding_width"] == 8
    assert found.facts["base_parameters"] == sum(values.size for values in make_adapters.base_tensors().values())
    twice = inspect_base(None, {"a.safetensors": header, "b.safetensors": header})
    assert twice.finding("valid_weights").verdict == "fail"
    assert twice.finding("valid_config").verdict == "warn"


def test_a_pattern_too_costly_to_match_becomes_a_finding(
    tmp_path: Path, base: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "MAX_STEPS", 50)
    config = lora_config(target_modules=".*a.*(query|value)" + ".?" * 30)
    found = look(write_adapter(tmp_path, config), base)
    assert found.finding("valid_config").verdict == "fail"
    assert found.finding("valid_config").details == {"code": "pattern"}
    assert found.finding("finite").verdict == "pass"


def test_a_very_large_hostile_adapter_is_judged_in_seconds(tmp_path: Path, base: Header) -> None:
    modules = [f"base_model.model.b.{number}.a.a.lora_{part}.weight" for number in range(10_000) for part in "AB"]
    header = {
        name: {"dtype": "F32", "shape": [1, 1], "data_offsets": [4 * place, 4 * place + 4]}
        for place, name in enumerate(modules)
    }
    ranks = {f"n{number}": 1 for number in range(4_900)} | {".*a" * (20 + number) + "b": 1 for number in range(30)}
    config = lora_config(r=1, rank_pattern=ranks, target_modules=[*(f"n{number}" for number in range(4_900)), "a"])
    folder = write_adapter(tmp_path, config)
    weights = make_adapters.raw_file(header, np.ones(len(modules), np.float32).tobytes())
    (folder / "adapter_model.safetensors").write_bytes(weights)
    started = time.process_time()
    assert look(folder, base).finding("fits_base").verdict == "fail"
    assert time.process_time() - started < 20


@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_tensors_that_are_single_numbers_fit_no_base_and_cannot_be_run(kind: str, tmp_path: Path, base: Header) -> None:
    config, tensors = (lora_config(), lora_tensors()) if kind == "lora" else (ia3_config(), ia3_tensors())
    for number, name in enumerate(name for name in list(tensors) if "classifier" not in name):
        folder = write_adapter(tmp_path / str(number), config, tensors | {name: np.array(2, np.float32)})
        verdicts = {finding.name: finding for finding in look(folder, base).findings}
        assert verdicts["fits_base"].verdict == "fail" and "a single number" in verdicts["fits_base"].summary
        with pytest.raises(RuntimeFault, match="single number"):
            read_adapter(folder)
