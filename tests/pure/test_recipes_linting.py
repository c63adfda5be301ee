"""The linter's sentences, from the facts that inspection really measures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.formats.inspect import inspect_adapter
from merges.recipes import Problem, lint, parse
from tests.make_adapters import ia3_config, ia3_tensors, lora_config, lora_tensors, write_adapter


def facts(folder: Path, config: dict[str, Any] | None = None, tensors: Any = None) -> dict[str, Any]:
    write_adapter(folder, config, tensors)
    return inspect_adapter(
        (folder / "adapter_config.json").read_bytes(), folder / "adapter_model.safetensors", None
    ).facts


def problems(known: list[dict[str, Any] | None], method: str = "task_arithmetic", **more: Any) -> list[Problem]:
    names = [f"alice/{letter}" for letter in "abcdef"[: len(known)]]
    return lint(parse({"merge_method": method, "inputs": names} | more), known)


def errors(known: list[dict[str, Any] | None], method: str = "task_arithmetic", **more: Any) -> str:
    return " ".join(one.message for one in problems(known, method, **more) if one.severity == "error")


@pytest.fixture
def sound(tmp_path: Path) -> list[dict[str, Any]]:
    return [facts(tmp_path / str(seed), None, lora_tensors(seed=seed)) for seed in range(2)]


def test_adapters_that_fit_have_no_problem_but_their_heads(sound: list[dict[str, Any]]) -> None:
    assert [(one.severity, one.field) for one in problems(sound)] == [("info", "output.heads")]


def test_vectors_have_no_directions(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    vectors = [facts(tmp_path / f"v{seed}", ia3_config(), ia3_tensors(seed=seed)) for seed in range(2)]
    assert "Choose task_arithmetic" in " ".join(one.message for one in problems(vectors, "tsv_m"))
    assert "Choose task_arithmetic" not in " ".join(one.message for one in problems(vectors, "ties"))
    assert "Choose task_arithmetic" not in " ".join(one.message for one in problems(sound, "tsv_m"))


def test_unknown_facts_are_not_held_against_an_input(sound: list[dict[str, Any]]) -> None:
    assert not errors([sound[0], None])


def test_different_ranks_are_fine_and_different_widths_are_not(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    ranked = facts(tmp_path / "r", lora_config(r=5), lora_tensors(rank=5))
    assert not errors([sound[0], ranked])
    wide = facts(tmp_path / "w", None, lora_tensors(width=16))
    assert "has size [8] in alice/a and [16] in alice/b" in errors([sound[0], wide])


def test_each_reason_not_to_merge_has_its_sentence(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    one = sound[0]
    assert "different bases" in errors([one, one | {"base_model": "acme/other"}])
    assert "made for acme/tiny-bert, not for acme/other" in errors([one, sound[1]], base="acme/other")
    assert "DoRA" in errors([one, one | {"method": "DoRA"}])
    assert "multiplies" in errors([one, facts(tmp_path / "i", ia3_config(), ia3_tensors())])
    prompt = facts(
        tmp_path / "p",
        {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3},
        {"prompt_embeddings": np.ones((3, 8), np.float32)},
    )
    assert "Prompts are read by position" in errors([one, prompt])
    assert "NaN" in errors([one, sound[1] | {"values": {"nan": 2, "infinite": 0}}])
    assert "hold the same weights" in errors([one | {"sha256": "1"}, sound[1] | {"sha256": "1"}])
    assert "at least two inputs" in errors([one])
    assert "exactly 2" in errors([one, sound[1], None], "slerp")
    opposed = [{"adapter": "a/b", "weight": 1}, {"adapter": "c/d", "weight": -1}]
    assert all("no mean" in errors(sound, method, inputs=opposed) for method in ("mean", "regmean"))


def test_the_same_adapter_twice_is_refused_unless_the_revisions_differ(sound: list[dict[str, Any]]) -> None:
    assert "alice/a is there twice" in errors(sound, inputs=["alice/a", "Alice/A"])
    revisions = [{"adapter": "alice/a", "revision": "v1"}, {"adapter": "alice/a", "revision": "v2"}]
    assert not errors(sound, inputs=revisions)


def test_trained_parts_of_the_base_are_refused_and_frozen_copies_are_not(tmp_path: Path) -> None:
    stem = "base_model.model.bert.embeddings.word_embeddings"
    config = lora_config(bias="all", target_modules=["query", "value", "word_embeddings"])
    trained = lora_tensors() | {"base_model.model.bert.encoder.layer.0.output.dense.bias": np.ones(8, np.float32)}
    frozen = lora_tensors(seed=3) | {
        f"{stem}.lora_embedding_A": np.ones((2, 20), np.float32),
        f"{stem}.lora_embedding_B": np.ones((8, 2), np.float32),
        f"{stem}.base_layer.weight": np.ones((20, 8), np.float32),
    }
    known = [facts(tmp_path / "t", config, trained), facts(tmp_path / "f", config, frozen)]
    found = [one for one in problems(known) if one.severity == "error"]
    assert [one.field for one in found] == ["inputs[0]"]
    assert "also replaces base_model.model.bert.encoder.layer.0.output.dense.bias" in found[0].message


def test_heads_are_averaged_only_if_labels_agree(sound: list[dict[str, Any]]) -> None:
    labelled = [one | {"labels": ["a", "b", "c"]} for one in sound]
    assert not errors(labelled, output={"heads": "mean"})
    other = labelled[1] | {"labels": ["c", "b", "a"]}
    assert "different labels" in errors([labelled[0], other], output={"heads": "mean"})


def test_doubts_are_warnings(sound: list[dict[str, Any]]) -> None:
    nameless = [{key: value for key, value in sound[0].items() if key != "base_model"}, sound[1]]
    assert [one.message for one in problems(nameless) if one.severity == "warning"] == [
        "alice/a does not say which base it was made for."
    ]
    zero = [{"adapter": "a/b", "weight": 0}, {"adapter": "c/d", "weight": 0}]
    assert any("change nothing" in one.message for one in problems(sound, inputs=zero) if one.severity == "warning")
