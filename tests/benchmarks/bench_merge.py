"""How long a TIES merge of four LoRA adapters of MiniLM takes, beside peft's own ties_svd in the same run.

Run as `python -m tests.benchmarks.bench_merge`; prints one JSON line. Ours is the whole run: reading, checking,
hashing, merging on ΔW, reducing to a rank, measuring the error, writing. peft's is add_weighted_adapter on adapters
that are already loaded; its ties_svd works on ΔW too, but reports no error and writes nothing.
Imports are outside both.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import BertConfig, BertModel

from merges.recipes import parse
from merges.running import LocalAdapter, run

ADAPTERS, RANK, RUNS, TARGET_SECONDS = 4, 16, 5, 3.0
MODULES = ["query", "key", "value", "dense"]


def base() -> BertModel:
    """A BERT of MiniLM's shapes with random weights: 6 layers, width 384."""
    torch.manual_seed(0)
    return BertModel(
        BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
        add_pooling_layer=False,
    )


def write_adapters(folder: Path) -> list[LocalAdapter]:
    """Adapters with random factors on every linear layer."""
    locals_ = []
    for number in range(ADAPTERS):
        model = get_peft_model(base(), LoraConfig(r=RANK, lora_alpha=32, target_modules=MODULES))
        torch.manual_seed(number + 1)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.02)
        model.save_pretrained(str(folder / str(number)), save_embedding_layers=False)
        locals_.append(LocalAdapter(f"bench/{number}", folder / str(number)))
    return locals_


def seconds(work: Callable[[int], object]) -> float:
    """Median wall time of several runs after one that does not count."""
    times = []
    for number in range(RUNS + 1):
        started = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def main() -> None:
    """Measure both sides on the same adapters at the same output rank and print the line."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        adapters = write_adapters(folder)
        recipe = parse(
            {
                "merge_method": "ties",
                "inputs": [adapter.name for adapter in adapters],
                "output": {"rank": RANK * ADAPTERS},
            }
        )
        ours = seconds(lambda number: run(recipe, adapters, folder / f"out{number}", lambda *_: None))
        model = PeftModel.from_pretrained(base(), str(adapters[0].folder), adapter_name="0")
        for number, adapter in enumerate(adapters[1:], start=1):
            model.load_adapter(str(adapter.folder), adapter_name=str(number))
        names = [str(number) for number in range(ADAPTERS)]

        def peer(number: int) -> None:
            model.add_weighted_adapter(
                names, [1.0] * ADAPTERS, f"merged{number}", combination_type="ties_svd", density=0.2,
                svd_rank=RANK * ADAPTERS, svd_full_matrices=False,
            )  # fmt: skip
            model.delete_adapter(f"merged{number}")

        theirs = seconds(peer)
    line = {
        "figure": "ties_4_lora_r16_minilm",
        "value": round(ours, 3),
        "unit": "s",
        "target": TARGET_SECONDS,
        "peer": "peft add_weighted_adapter ties_svd, in memory, thin SVD",
        "peer_value": round(theirs, 3),
        "ratio": round(ours / theirs, 3),
        "runs": RUNS,
        "numpy": np.__version__,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
