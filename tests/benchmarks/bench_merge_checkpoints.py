"""Merging whole checkpoints beside mergekit 0.1.5: CPU time and peak memory of whole processes, same files, in turn.

`MERGEKIT_PYTHON=/path/to/python -m tests.benchmarks.bench_merge_checkpoints [millions] [runs]`; without a mergekit our own
figures are printed alone. Makes a synthetic Llama of so many million parameters (135 by default), four fine-tunes of it,
and runs task arithmetic and TIES (density 0.2), float32. Ours is given the hashes of its inputs, as the hub gives them,
whose door hashed them once; mergekit hashes nothing. Prints one JSON line per figure: medians and paired ratios.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
MODELS, HIDDEN, HEADS, INTERMEDIATE, VOCABULARY = 4, 576, 9, 1536, 49152
OURS = """
import sys
from pathlib import Path
from merges.recipes import parse
from merges.running import LocalAdapter, run
folder, method, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
names = [f"bench/{n}" for n in range(count)]
recipe = parse({"merge_method": method, "base": "bench/base", "inputs": [{"model": name} for name in names],
                "parameters": {"lambda": 1.0, **({"density": 0.2} if method == "ties" else {})}})
inputs = [LocalAdapter(name, folder / str(n), f"{n:064x}") for n, name in enumerate(names)]
run(recipe, inputs, folder / "ours", lambda *_: None, base=LocalAdapter("bench/base", folder / "base", "f" * 64))
"""
TARGETS = {
    ("ties", "cpu"): 0.1, ("ties", "memory"): 1 / 6, ("task_arithmetic", "cpu"): 0.2, ("task_arithmetic", "memory"): 1 / 8,
}  # fmt: skip


def write_models(folder: Path, millions: float) -> None:
    """A base and its fine-tunes: base + N(0, 2e-3), as safetensors with a Llama's names."""
    from safetensors.numpy import save_file

    layer = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * HIDDEN // 3 + 3 * HIDDEN * INTERMEDIATE + 2 * HIDDEN
    layers = max(1, round((millions * 1e6 - VOCABULARY * HIDDEN) / layer))
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    for number in range(layers):
        start = f"model.layers.{number}."
        shapes |= {
            f"{start}self_attn.{name}_proj.weight": (HIDDEN // (3 if name in "kv" else 1), HIDDEN) for name in "qkvo"
        }
        shapes |= {f"{start}mlp.{name}_proj.weight": (INTERMEDIATE, HIDDEN) for name in ("gate", "up")}
        shapes |= {f"{start}mlp.down_proj.weight": (HIDDEN, INTERMEDIATE)}
        shapes |= {f"{start}{name}.weight": (HIDDEN,) for name in ("input_layernorm", "post_attention_layernorm")}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "num_hidden_layers": layers,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS // 3, "intermediate_size": INTERMEDIATE,
        "vocab_size": VOCABULARY, "tie_word_embeddings": True, "torch_dtype": "float32", "rms_norm_eps": 1e-5,
    }  # fmt: skip
    random = np.random.default_rng(0)
    base = {name: random.standard_normal(shape, dtype=np.float32) * 0.04 for name, shape in shapes.items()}
    for name in ("base", *map(str, range(MODELS))):
        (folder / name).mkdir()
        tuned = base if name == "base" else {
            key: value + random.standard_normal(value.shape, dtype=np.float32) * 2e-3 for key, value in base.items()
        }  # fmt: skip
        save_file(tuned, folder / name / "model.safetensors", {"format": "pt"})
        (folder / name / "config.json").write_text(json.dumps(config))


def measured(command: list[str], folder: Path, output: str) -> tuple[float, float, float]:
    """(CPU seconds, wall seconds, peak MiB) of one process, its output removed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(said.decode()[-2000:])
    wall = time.perf_counter() - started
    assert isinstance(used, resource.struct_rusage)
    shutil.rmtree(folder / output, ignore_errors=True)
    return used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024


def mergekit_command(python: str, folder: Path, method: str) -> list[str]:
    """mergekit-yaml of the same merge."""
    entries = [f"  - model: {folder / str(n)}\n    parameters: {{weight: 1.0, density: 0.2}}" for n in range(MODELS)]
    if method == "task_arithmetic":
        entries = [entry.replace(", density: 0.2", "") for entry in entries]
    recipe = (
        f"merge_method: {method}\nbase_model: {folder / 'base'}\nmodels:\n" + "\n".join(entries) + "\ndtype: float32\n"
    )
    path = folder / f"{method}.yml"
    path.write_text(recipe)
    return [python, "-c", "from mergekit.scripts.run_yaml import main; main()", str(path), str(folder / "theirs")]


def line(method: str, kind: str, unit: str, ours: list[float], theirs: list[float]) -> None:
    """One JSON line."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=False)]
    target = TARGETS.get((method, kind))
    print(json.dumps({
        "figure": f"merge_checkpoints_{method}_{kind}", "value": round(statistics.median(ours), 2), "unit": unit,
        "peer": "mergekit 0.1.5", "peer_value": round(statistics.median(theirs), 2) if theirs else None,
        "ratio": round(statistics.median(ratios), 4) if ratios else None, "target_ratio": target and round(target, 4),
        "runs": len(ours),
    }), flush=True)  # fmt: skip


def main() -> None:
    """Run both in turn and print."""
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else 135.0
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    peer = os.environ.get("MERGEKIT_PYTHON")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: a child's peak memory counts what its parent held when it was started.
        write = (
            "import sys; from pathlib import Path; from tests.benchmarks.bench_merge_checkpoints import write_models; "
        )
        write += "write_models(Path(sys.argv[1]), float(sys.argv[2]))"
        subprocess.run([sys.executable, "-c", write, name, str(millions)], cwd=ROOT, check=True)
        for method in ("task_arithmetic", "ties"):
            ours, theirs = [], []
            for _ in range(runs):
                ours.append(measured([sys.executable, "-c", OURS, str(folder), method, str(MODELS)], folder, "ours"))
                if peer:
                    theirs.append(measured(mergekit_command(peer, folder, method), folder, "theirs"))
            for position, (kind, unit) in enumerate((("cpu", "CPU s"), ("wall", "s"), ("memory", "MiB"))):
                line(method, kind, unit, [one[position] for one in ours], [one[position] for one in theirs])
            two = measured([sys.executable, "-c", OURS, str(folder), method, "2"], folder, "ours")
            print(json.dumps({"figure": f"merge_checkpoints_{method}_memory_of_2", "value": round(two[2], 1), "unit": "MiB",
                              "ratio": round(two[2] / statistics.median(one[2] for one in ours), 3)}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
