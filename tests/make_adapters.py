"""Writes tiny valid bases and adapters, and the hostile files that every door must refuse.

Only numpy and safetensors are needed. Names and shapes are those that transformers and peft write for a two-layer
BERT classifier of width 8, so the same files serve format, diff, merge and wire tests.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save, save_file

WIDTH = 8
LAYERS = 2
VOCABULARY = 20
BASE_NAME = "acme/tiny-bert"
Tensors = dict[str, np.ndarray]


def base_tensors(prefix: str = "bert.", width: int = WIDTH, seed: int = 0) -> Tensors:
    """The tensors of a tiny BERT; `prefix` is what the checkpoint puts before every name."""
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"embeddings.word_embeddings": (VOCABULARY, width)}
    for layer in range(LAYERS):
        stem = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            shapes[f"{stem}.attention.self.{part}"] = (width, width)
        shapes[f"{stem}.attention.output.dense"] = (width, width)
        shapes[f"{stem}.intermediate.dense"] = (2 * width, width)
        shapes[f"{stem}.output.dense"] = (width, 2 * width)
    tensors = {f"{prefix}{name}.weight": random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    biases = {name: shape[0] for name, shape in shapes.items() if "embeddings" not in name}
    return tensors | {f"{prefix}{name}.bias": np.zeros(size, np.float32) for name, size in biases.items()}


def base_config(width: int = WIDTH) -> dict[str, Any]:
    """The config.json that goes with base_tensors; transformers can load the two together."""
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_attention_heads": 2,
        "num_hidden_layers": LAYERS,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 32,
        "type_vocab_size": 2,
    }


def write_base(folder: Path, prefix: str = "bert.", width: int = WIDTH) -> Path:
    """A base repo's files: config.json and model.safetensors. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(base_config(width)))
    save_file(base_tensors(prefix, width), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def lora_config(**changes: Any) -> dict[str, Any]:
    """An adapter_config.json for lora_tensors; keyword arguments replace keys."""
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": BASE_NAME,
        "r": 2,
        "lora_alpha": 4,
        "lora_dropout": 0.0,
        "target_modules": ["query", "value"],
        "modules_to_save": ["classifier"],
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "auto_mapping": None,
    }
    return config | changes


def lora_tensors(
    rank: int = 2, width: int = WIDTH, targets: tuple[str, ...] = ("query", "value"), labels: int = 3, seed: int = 1
) -> Tensors:
    """Trained-looking LoRA matrices for the tiny BERT, and a classifier head with `labels` outputs (0: no head)."""
    random = np.random.default_rng(seed)
    tensors: Tensors = {}
    for layer in range(LAYERS):
        for part in targets:
            stem = f"base_model.model.bert.encoder.layer.{layer}.attention.self.{part}"
            tensors[f"{stem}.lora_A.weight"] = random.normal(size=(rank, width)).astype(np.float32)
            tensors[f"{stem}.lora_B.weight"] = random.normal(size=(width, rank)).astype(np.float32)
    if labels:
        tensors["base_model.model.classifier.weight"] = random.normal(size=(labels, width)).astype(np.float32)
        tensors["base_model.model.classifier.bias"] = np.zeros(labels, np.float32)
    return tensors


def ia3_config(**changes: Any) -> dict[str, Any]:
    """An adapter_config.json for ia3_tensors; keyword arguments replace keys."""
    config: dict[str, Any] = {
        "peft_type": "IA3",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": BASE_NAME,
        "target_modules": ["key", "value", "output.dense"],
        "feedforward_modules": ["output.dense"],
        "modules_to_save": ["classifier"],
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    return config | changes


def ia3_tensors(width: int = WIDTH, labels: int = 3, seed: int = 2) -> Tensors:
    """Trained-looking IA3 vectors for the tiny BERT, and a classifier head."""
    random = np.random.default_rng(seed)
    tensors: Tensors = {}
    for layer in range(LAYERS):
        stem = f"base_model.model.bert.encoder.layer.{layer}"
        for part in ("key", "value"):
            tensors[f"{stem}.attention.self.{part}.ia3_l"] = 1 + random.normal(size=(width, 1)).astype(np.float32) / 9
        for part, size in (("attention.output.dense", width), ("output.dense", 2 * width)):
            tensors[f"{stem}.{part}.ia3_l"] = 1 + random.normal(size=(1, size)).astype(np.float32) / 9
    tensors["base_model.model.classifier.weight"] = random.normal(size=(labels, width)).astype(np.float32)
    tensors["base_model.model.classifier.bias"] = np.zeros(labels, np.float32)
    return tensors


def write_adapter(
    folder: Path, config: dict[str, Any] | None = None, tensors: Tensors | None = None, card: str | None = None
) -> Path:
    """An adapter repo's files (LoRA unless told otherwise): config, weights, README.md, labels.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(lora_config() if config is None else config))
    save_file(lora_tensors() if tensors is None else tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    (folder / "README.md").write_text(CARD if card is None else card)
    (folder / "labels.json").write_text('["negative", "neutral", "positive"]')
    return folder


CARD = f"""---
base_model: {BASE_NAME}
license: apache-2.0
library_name: peft
tags: [lora, sentiment]
language: en
datasets: [acme/reviews]
task: acme/reviews
metrics: [accuracy]
---
# A tiny specialist
"""

TASK_CARD = """---
type: text-classification
labels: [negative, neutral, positive]
metric: accuracy
license: cc-by-4.0
language: en
---
# Reviews
"""


def raw_file(header: Any, data: bytes = b"") -> bytes:
    """A safetensors file with whatever header: JSON-able, or bytes taken as they are."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def _entry(shape: list[Any], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def _zip_file() -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": [1.0] * 50}))
    return stream.getvalue()


def hostile_weights() -> dict[str, tuple[bytes, str]]:
    """Files no door may accept as safetensors: name -> (bytes, the FormatError code they must be refused with)."""
    good = save(lora_tensors())
    two = {"a": _entry([2], 0, 8), "b": _entry([2], 8, 16)}
    return {
        "empty": (b"", "empty"),
        "shorter_than_prefix": (b"\x02\x00", "too_short"),
        "truncated_data": (good[:-10], "truncated"),
        "truncated_header": (good[:100], "header_beyond_file"),
        "header_larger_than_file": (struct.pack("<Q", 1 << 40) + b"{}", "header_beyond_file"),
        "header_larger_than_limit": (struct.pack("<Q", 9 << 20) + b"{" + b" " * (9 << 20), "header_too_large"),
        "overlapping_offsets": (raw_file({"a": _entry([2], 0, 8), "b": _entry([2], 4, 12)}, bytes(12)), "overlap"),
        "same_offsets": (raw_file({"a": _entry([2], 0, 8), "b": _entry([2], 0, 8)}, bytes(8)), "overlap"),
        "holed_offsets": (raw_file({"a": _entry([2], 0, 8), "b": _entry([2], 12, 20)}, bytes(20)), "hole"),
        "trailing_bytes": (raw_file(two, bytes(20)), "trailing_bytes"),
        "duplicate_keys": (
            raw_file(
                b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
                bytes(4),
            ),
            "json_duplicate_key",
        ),
        "unknown_dtype": (raw_file({"a": _entry([2], 0, 8, "F33")}, bytes(8)), "dtype"),
        "negative_shape": (raw_file({"a": _entry([-2, -1], 0, 8)}, bytes(8)), "shape"),
        "fractional_shape": (raw_file({"a": _entry([2.0], 0, 8)}, bytes(8)), "shape"),
        "boolean_shape": (raw_file({"a": _entry([True, 2], 0, 8)}, bytes(8)), "shape"),
        "overflowing_shape": (raw_file({"a": _entry([1 << 40, 1 << 40], 0, 8)}, bytes(8)), "shape_overflow"),
        "wrong_size": (raw_file({"a": _entry([3], 0, 8)}, bytes(8)), "size_mismatch"),
        "backward_offsets": (raw_file({"a": _entry([2], 8, 0)}, bytes(8)), "offsets"),
        "metadata_not_text": (raw_file({"__metadata__": {"a": 1}} | two, bytes(16)), "metadata_type"),
        "not_an_object": (raw_file(b"[]      "), "header_start"),
        "leading_space": (raw_file(b" {}     "), "header_start"),
        "bad_utf8": (raw_file(b'{"\xff\xfe":{}}'), "json_not_utf8"),
        "not_json": (raw_file(b"{not json at all}"), "json_invalid"),
        "deeply_nested": (raw_file(b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"), "json_too_deep"),
        "pickle_renamed": (pickle.dumps({"weight": [1.0] * 50}, protocol=2), "renamed_pickle"),
        "zip_renamed": (_zip_file(), "renamed_zip"),
        "text_renamed": (b"this is a text file and nothing else, sorry", "header_beyond_file"),
    }


def hostile_configs() -> dict[str, tuple[bytes, str]]:
    """adapter_config.json files that must be refused: name -> (bytes, FormatError code)."""

    def lora(**changes: Any) -> bytes:
        return json.dumps(lora_config(**changes)).encode()

    return {
        "hostile_regex": (lora(target_modules="((a+)+)+$"), "pattern"),
        "hostile_regex_in_list": (lora(target_modules=["query", "(a+)+$"]), "pattern"),
        "hostile_regex_in_rank_pattern": (lora(rank_pattern={"(.*)*x": 4}), "pattern"),
        "hostile_regex_in_modules_to_save": (lora(modules_to_save=["(a|a)*b"]), "pattern"),
        "lookahead": (lora(target_modules="(?=.*q).*"), "pattern"),
        "back_reference": (lora(target_modules="(q)\\1"), "pattern"),
        "not_json": (b"{", "json_invalid"),
        "not_an_object": (b"[]", "config_type"),
        "not_a_number": (b'{"peft_type": "LORA", "r": NaN}', "json_number"),
        "duplicate_key": (b'{"peft_type": "LORA", "r": 2, "r": 4}', "json_duplicate_key"),
        "too_deep": (b'{"peft_type": "LORA", "x": ' + b"[" * 70 + b"]" * 70 + b"}", "json_too_deep"),
        "too_large": (b'{"peft_type": "LORA", "x": "' + b"a" * (1 << 20) + b'"}', "json_too_large"),
        "no_type": (b"{}", "config_missing"),
        "unknown_method": (lora(peft_type="EVIL"), "unsupported_method"),
        "rank_zero": (lora(r=0), "config_field"),
        "rank_huge": (lora(r=1_000_000), "config_field"),
        "rank_text": (lora(r="2"), "config_field"),
        "unknown_task_type": (lora(task_type="ANYTHING"), "config_field"),
    }


def unsound_adapters() -> dict[str, tuple[dict[str, Any], Tensors, str, str]]:
    """Well-formed files that do not make a sound adapter: name -> (config, tensors, finding that must object, verdict).

    Compare against the header of `base_tensors()`.
    """

    def changed(change: Callable[[Tensors], None], **arguments: Any) -> Tensors:
        tensors = lora_tensors(**arguments)
        change(tensors)
        return tensors

    first = "base_model.model.bert.encoder.layer.0.attention.self.query"

    def put_nan(tensors: Tensors) -> None:
        tensors[f"{first}.lora_A.weight"][0, 0] = np.nan

    def put_infinity(tensors: Tensors) -> None:
        tensors[f"{first}.lora_B.weight"][1, 1] = -np.inf

    def zero_all(tensors: Tensors) -> None:
        for values in tensors.values():
            values[...] = 0

    def zero_b(tensors: Tensors) -> None:
        for name, values in tensors.items():
            if ".lora_B." in name:
                values[...] = 0

    def drop_b(tensors: Tensors) -> None:
        del tensors[f"{first}.lora_B.weight"]

    def stranger(tensors: Tensors) -> None:
        tensors["base_model.model.bert.encoder.layer.0.attention.self.query.weight"] = np.ones((8, 8), np.float32)

    def adapter_name(tensors: Tensors) -> None:
        tensors[f"{first}.lora_A.default.weight"] = tensors.pop(f"{first}.lora_A.weight")

    return {
        "nan": (lora_config(), changed(put_nan), "finite", "fail"),
        "infinity": (lora_config(), changed(put_infinity), "finite", "fail"),
        "all_zero": (lora_config(), changed(zero_all), "not_all_zero", "fail"),
        "never_trained": (lora_config(), changed(zero_b), "not_all_zero", "warn"),
        "missing_b": (lora_config(), changed(drop_b), "complete", "fail"),
        "foreign_tensor": (lora_config(), changed(stranger), "names_match", "fail"),
        "adapter_name_left": (lora_config(), changed(adapter_name), "names_match", "fail"),
        "not_targeted": (lora_config(target_modules=["query"]), lora_tensors(), "names_match", "fail"),
        "wrong_rank": (lora_config(r=4), lora_tensors(), "rank_agrees", "fail"),
        "wrong_width": (lora_config(), lora_tensors(width=16), "fits_base", "fail"),
        "no_magnitudes": (lora_config(use_dora=True), lora_tensors(), "complete", "fail"),
        "no_tensors": (lora_config(), {}, "valid_weights", "fail"),
        "pissa": (lora_config(init_lora_weights="pissa"), lora_tensors(), "valid_config", "warn"),
    }
