"""Merging eight LoRA adapters (r = 16) shaped for a 7B model (4096 wide, 32 layers, q k v o): seconds and peak memory.

`python -m tests.benchmarks.bench_merge_adapters [layers] [methods]`; with fewer than 32 layers the figures are scaled up to
32. Synthetic factors. No peer does this at all: mergekit refuses adapters, and peft's own merge on A and B is wrong by
96 % for two adapters. One JSON line per method; each is a process of its own, imports included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
ADAPTERS, WIDTH, RANK, LAYERS = 8, 4096, 16, 32
TARGETS = {"task_arithmetic": 3.0, "tsv_m": 20.0, "iso_c": 20.0, "iso_cts": 20.0, "ties": 300.0, "ties+core": 20.0}
MERGE = """
import json, sys, time
from pathlib import Path
from merges.recipes import parse
from merges.running import LocalAdapter, run
folder, name = Path(sys.argv[1]), sys.argv[2]
method, _, space = name.partition("+")
names = [f"bench/{n}" for n in range(int(sys.argv[3]))]
recipe = parse({"merge_method": method, "inputs": names} | ({"space": space} if space else {})
               | ({"output": {"rank": 16}} if name == "ties" else {}))
inputs = [LocalAdapter(one, folder / str(n)) for n, one in enumerate(names)]
started = time.perf_counter()
report = run(recipe, inputs, folder / "out", lambda *_: None)
print(json.dumps({"seconds": time.perf_counter() - started, "error": report.totals.error}))
"""


def write_adapters(folder: Path, layers: int) -> None:
    """Random factors as peft stores them."""
    from safetensors.numpy import save_file

    random = np.random.default_rng(0)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 32, "base_model_name_or_path": "bench/7b",
              "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"], "task_type": "CAUSAL_LM"}  # fmt: skip
    for number in range(ADAPTERS):
        tensors = {}
        for layer in range(layers):
            for part in "qkvo":
                module = f"base_model.model.model.layers.{layer}.self_attn.{part}_proj"
                for name, shape in (("A", (RANK, WIDTH)), ("B", (WIDTH, RANK))):
                    tensors[f"{module}.lora_{name}.weight"] = random.standard_normal(shape, dtype=np.float32) * 0.01
        (folder / str(number)).mkdir()
        save_file(tensors, folder / str(number) / "adapter_model.safetensors", {"format": "pt"})
        (folder / str(number) / "adapter_config.json").write_text(json.dumps(config))


def main() -> None:
    """One line per method."""
    layers = int(sys.argv[1]) if len(sys.argv) > 1 else LAYERS
    methods = sys.argv[2].split(",") if len(sys.argv) > 2 else list(TARGETS)
    with tempfile.TemporaryDirectory() as name:
        write = (
            "import sys; from pathlib import Path; from tests.benchmarks.bench_merge_adapters import write_adapters; "
        )
        write += "write_adapters(Path(sys.argv[1]), int(sys.argv[2]))"
        subprocess.run([sys.executable, "-c", write, name, str(layers)], cwd=ROOT, check=True)
        for method in methods:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-c", MERGE, name, method, str(ADAPTERS)], cwd=ROOT, env=environment,
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            assert process.stdout is not None
            said = json.loads(process.stdout.read())
            _, status, used = os.wait4(process.pid, 0)
            assert status == 0
            wall, cpu = time.perf_counter() - started, used.ru_utime + used.ru_stime
            subprocess.run(["rm", "-rf", f"{name}/out"], check=True)
            print(json.dumps({
                "figure": f"merge_8_lora_7b_{method}", "value": round(said["seconds"] * LAYERS / layers, 2), "unit": "s",
                "target": TARGETS.get(method), "cpu_s": round(cpu * LAYERS / layers, 2), "wall_s": round(wall, 2),
                "peak_mib": round(used.ru_maxrss / 1024), "peak_target_mib": 2048, "error": round(said["error"], 4),
                "layers": layers, "ratio": round(said["seconds"] * LAYERS / layers / TARGETS.get(method, 1.0), 3),
            }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
