"""How long `up` takes and what an idle web process weighs: `python tests/benchmarks/bench_stack.py [STATE]`.

Prints one JSON line per figure. Memory is the proportional set size (shared pages counted once), Linux only.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.hub.stack_support import clean_environment, families, up

TARGETS = {"up, first start": None, "up, second start": 20.0, "stop": None, "web process, idle": 250.0}


def report(figure: str, value: float, unit: str) -> None:
    """One line: the figure, its unit, the target and the ratio to it."""
    target = TARGETS.get(figure)
    ratio = round(value / target, 3) if target else None
    print(json.dumps({"figure": figure, "value": round(value, 2), "unit": unit, "target": target, "ratio": ratio}))


def mebibytes(pid: int, field: str = "Pss") -> float:
    """Memory of a process, from the kernel's own sum."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel gives no {field} for process {pid}")


def main() -> None:
    """Start twice on one folder, stop twice, weigh in between."""
    given = sys.argv[1:]
    state = Path(given[0]).resolve() if given else Path(tempfile.mkdtemp(prefix="tessera-bench-")) / "state"
    try:
        for figure in ("up, first start", "up, second start"):
            began = time.perf_counter()
            with up(state, clean_environment(PYTHONUNBUFFERED="1")) as hub:
                hub.wait_for("Tessera is ready at")
                report(figure, time.perf_counter() - began, "s")
                if figure == "up, second start":
                    weigh(hub.pids())
                began = time.perf_counter()
                hub.interrupt()
                report("stop", time.perf_counter() - began, "s")
    finally:
        if not given:
            shutil.rmtree(state.parent)


def weigh(parts: dict[str, int]) -> None:
    """Report the heaviest web process and the sum of every part."""
    web = families({"web": parts["web"]}) - {parts["web"]}
    report("web process, idle", max(mebibytes(pid, "Rss") for pid in web), "MiB")
    for name, pid in sorted(parts.items()):
        report(f"{name}, all processes, shared pages once", sum(map(mebibytes, families({name: pid}))), "MiB")


if __name__ == "__main__":
    main()
