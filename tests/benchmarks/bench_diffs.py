"""Speed of looking inside: manifest and diff of 135 M-parameter checkpoints, diff of two adapters. One JSON line each.

Run with `python -m tests.benchmarks.bench_diffs`. Each figure is measured in a process of its own, so that its memory
is its own; the target stands beside it as `target`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

LAYERS, WIDTH, INNER, VOCABULARY = 30, 576, 1536, 49152


def shapes() -> dict[str, tuple[int, ...]]:
    """Those of SmolLM2-135M."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}"
        for name, shape in {
            "self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (192, WIDTH), "self_attn.v_proj": (192, WIDTH),
            "self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH),
            "mlp.down_proj": (WIDTH, INNER), "input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,),
        }.items():  # fmt: skip
            found[f"{stem}.{name}.weight"] = shape
    return found | {"model.norm.weight": (WIDTH,)}


def make_files(folder: Path) -> None:
    """Two checkpoints of which every tensor differs, and two LoRA adapters of rank 16 on all linear layers."""
    random = np.random.default_rng(0)
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes().items()}
    save_file(weights, folder / "one.safetensors")
    for array in weights.values():
        array += 1e-3 * random.standard_normal(array.shape, dtype=np.float32)
    save_file(weights, folder / "two.safetensors")
    config = {"peft_type": "LORA", "r": 16, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("a", "b"):
        tensors = {}
        for layer in range(LAYERS):
            for part, rows in (("q_proj", WIDTH), ("v_proj", 192)):
                stem = f"base_model.model.model.layers.{layer}.self_attn.{part}"
                tensors[f"{stem}.lora_A.weight"] = random.standard_normal((16, WIDTH), dtype=np.float32)
                tensors[f"{stem}.lora_B.weight"] = random.standard_normal((rows, 16), dtype=np.float32)
        save_file(tensors, folder / f"{name}.safetensors")


def run(what: str, folder: Path) -> None:
    """Measure one figure in this process and print it: seconds of wall and processor, peak memory."""
    from adapters.diffs import Side, compare, manifest
    from adapters.formats.peft_config import parse_config

    began, used = time.perf_counter(), time.process_time()
    if what == "manifest":
        manifest(folder / "one.safetensors")
    elif what == "checkpoints":
        keys = {}
        for name in ("one", "two"):
            path = folder / f"{name}.safetensors"
            keys[path] = {(path, tensor): f"{name}{tensor}" for tensor in shapes()}
        compare(*(Side([path], keys=known) for path, known in keys.items()))
    else:
        config = parse_config((folder / "config.json").read_bytes())
        compare(Side([folder / "a.safetensors"], config), Side([folder / "b.safetensors"], config))
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"seconds": wall, "cpu": cpu, "mib": peak / 1024}))


TARGETS = {"manifest": (3.0, 200), "checkpoints": (8.0, 1024), "adapters": (0.5, 1024)}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_files(folder)
        for what, (seconds, mib) in TARGETS.items():
            runs = []
            for _ in range(3):
                done = subprocess.run(
                    [sys.executable, "-m", "tests.benchmarks.bench_diffs", what, scratch],
                    capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
                )  # fmt: skip
                runs.append(json.loads(done.stdout))
            for figure, unit, target in (("seconds", "s", seconds), ("cpu", "s", seconds), ("mib", "MiB", mib)):
                value = statistics.median(row[figure] for row in runs)
                print(json.dumps({"figure": f"diffs.{what}.{figure}", "value": round(value, 3), "unit": unit,
                                  "target": target, "ratio": round(value / target, 3)}), flush=True)  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) == 3:
        run(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
