"""Merging whole checkpoints out of the object store: fetched whole before, against read in ranges. One JSON line each.

`python -m tests.benchmarks.bench_merge_streaming [millions] [runs]` (with TESSERA_TEST_STATE=DIR to use running services).
The base and four fine-tunes of `bench_merge_checkpoints` are whole objects in the embedded store. Each way runs in a
process of its own, in turn, from an empty cache: wall and CPU seconds, bytes of inputs written to the worker's disk,
peak memory. Both ways must give the same bytes. `range+hashes` compares every tensor with its known sha256.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

from tests.benchmarks.bench_merge_checkpoints import MODELS, ROOT
from tests.benchmarks.bench_wire import tell

WAYS, METHODS, FILE = ("fetch", "range", "range+hashes"), ("task_arithmetic", "ties"), "model.safetensors"


def child(way: str, method: str, folder: Path, state: Path) -> dict[str, Any]:
    """One merge, in this process; what it cost."""
    import resource

    import django

    django.setup()
    from django.conf import settings

    from adapters.catalog import local
    from hub.store import reading
    from hub.store.models import Blob
    from merges.recipes import parse
    from merges.running import LocalAdapter, run
    from merges.running.ahead import Budget, Remote

    settings.STATE = state
    facts = json.loads((folder / "facts.json").read_text())
    names = [f"bench/{n}" for n in range(MODELS)]
    parameters = {"lambda": 1.0, **({"density": 0.2} if method == "ties" else {})}
    recipe = parse({"merge_method": method, "base": "bench/base", "inputs": [{"model": name} for name in names],
                    "parameters": parameters})  # fmt: skip
    started = time.perf_counter()
    budget = Budget(MODELS + 1, len(os.sched_getaffinity(0)))
    near = []
    for name in ("base", *map(str, range(MODELS))):
        place = state / "near" / name
        place.mkdir(parents=True)
        shutil.copy(folder / name / "config.json", place)
        blob = Blob(sha256=facts[name]["sha256"], size=facts[name]["size"])
        remote = {}
        if way == "fetch":
            os.link(local.cached(blob), place / FILE)
        else:
            reader = reading.range_reader(blob)
            assert reader is not None
            known = facts[name]["tensors"] if way == "range+hashes" else {}
            remote[FILE] = Remote(blob.size, reader, budget, known)
        near.append(LocalAdapter(f"bench/{name}", place, f"{int(name, 36):064x}", remote=remote))
    run(recipe, near[1:], state / "out", lambda *_: None, base=near[0])
    budget.close()
    wall, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    cached = sum(path.stat().st_size for path in (state / "cache").rglob("*") if path.is_file())
    with (state / "out" / FILE).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak_mib": int(peak) / 1024,
            "scratch_mb": cached / 1e6, "digest": digest}  # fmt: skip


def measured(way: str, method: str, folder: Path) -> dict[str, Any]:
    """The same in a new process."""
    with tempfile.TemporaryDirectory(dir=folder) as state:
        command = [sys.executable, "-m", "tests.benchmarks.bench_merge_streaming", "child", way, method]
        done = subprocess.run([*command, str(folder), state], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told


def put_models(folder: Path, millions: float) -> None:
    """The models in the store, and their hashes in facts.json."""
    from adapters.diffs.manifest import manifest
    from hub.store import objects
    from hub.store.models import blob_key

    objects.ensure_bucket()
    # In a process of its own: a child's peak memory counts what its parent held when it was started.
    write = "import sys; from pathlib import Path; from tests.benchmarks.bench_merge_checkpoints import write_models; "
    write += "write_models(Path(sys.argv[1]), float(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", write, str(folder), str(millions)], cwd=ROOT, check=True)
    facts = {}
    for name in ("base", *map(str, range(MODELS))):
        path = folder / name / FILE
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        tensors = {one.name: one.sha256 for one in manifest(path).tensors}
        facts[name] = {"sha256": sha256, "size": path.stat().st_size, "tensors": tensors}
        with path.open("rb") as file:
            objects.put_large(blob_key(sha256), file)
        path.unlink()
    (folder / "facts.json").write_text(json.dumps(facts))


def main() -> None:
    """All ways in turn, the medians."""
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(child(sys.argv[2], sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5]))))
        return
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else 135.0
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    from tests import services as support

    support.prepare()
    import django

    django.setup()
    with support.running(), tempfile.TemporaryDirectory(prefix="bench-streaming-") as name:
        folder = Path(name)
        put_models(folder, millions)
        for method in METHODS:
            rows: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
            for _ in range(runs):
                for way in WAYS:
                    rows[way].append(measured(way, method, folder))
            assert len({row["digest"] for group in rows.values() for row in group}) == 1
            fetched = statistics.median(row["wall"] for row in rows["fetch"])
            for way, group in rows.items():
                middle = {key: statistics.median(row[key] for row in group) for key in group[0] if key != "digest"}
                tell(f"merge_streaming_{method}_{way}", **middle, wall_ratio=middle["wall"] / fetched, runs=runs)


if __name__ == "__main__":
    main()
