"""What the wire costs: large files beside bare S3, and small answers at ten thousand repos. One JSON line each.

Run as `python -m tests.benchmarks.bench_wire` (with TESSERA_TEST_STATE=DIR to use running services). Uploads go through
the newest client with Xet off, hashing included on both sides; the peer is boto3 on the same store with the same bytes.
Server times are taken inside the process, through all middleware, without the network.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

MIB = 1024**2
SIZE, RUNS, REPOS, ASKED = 100 * MIB, 5, 10_000, 200


def tell(name: str, **figures: Any) -> None:
    """One JSON line."""
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}
    print(json.dumps({"benchmark": name, **rounded}), flush=True)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes, once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def random_file(folder: Path) -> Path:
    """A sound safetensors file of random bytes, new each time so that nothing is deduplicated."""
    import numpy as np
    from safetensors.numpy import save_file

    path = folder / f"{uuid.uuid4()}.safetensors"
    save_file({"weight": np.frombuffer(os.urandom(SIZE), dtype=np.uint8)}, path)
    return path


def large_files(hub: Any, token: str) -> None:
    """Upload and download of 100 MiB, alternating with the peer; medians."""
    import boto3
    import httpx2
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.url, token=token)
    api.create_repo("bench/large", exist_ok=True)
    store = boto3.client(
        "s3", endpoint_url=os.environ["S3_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id=os.environ["S3_ACCESS_KEY_ID"], aws_secret_access_key=os.environ["S3_SECRET_ACCESS_KEY"],
    )  # fmt: skip
    bucket = hub.variables["S3_BUCKET"]
    times: dict[str, list[float]] = {"up": [], "bare_up": [], "down": [], "bare_down": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for run in range(RUNS):
            path, peer = random_file(folder), random_file(folder)
            target = {"path_in_repo": "x.safetensors", "repo_id": "bench/large"}
            times["bare_up"].append(seconds(partial(store.upload_file, str(peer), bucket, "bench-peer")))
            times["up"].append(seconds(partial(api.upload_file, path_or_fileobj=path, **target)))
            address = store.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "bench-peer"})

            def bare(address: str = address, target: Path = folder / "peer") -> None:
                with httpx2.stream("GET", address) as answer, target.open("wb") as out:
                    for chunk in answer.iter_bytes(10 * MIB):
                        out.write(chunk)

            times["bare_down"].append(seconds(bare))
            cache = folder / f"cache-{run}"
            fetch = partial(api.hf_hub_download, "bench/large", "x.safetensors", cache_dir=cache)
            times["down"].append(seconds(fetch))
            for old in (path, peer):
                old.unlink()
    up, bare_up, down, bare_down = (statistics.median(times[key]) for key in ("up", "bare_up", "down", "bare_down"))
    tell("wire_upload_100mb", seconds=up, peer_seconds=bare_up, ratio=up / bare_up, target=1.5)
    tell("wire_download_100mb", seconds=down, peer_seconds=bare_down, ratio=down / bare_down, target=1.3)


def many_repos() -> None:
    """Ten thousand repos of a hundred people, each with one commit of three files; rows made in bulk."""
    from django.utils import timezone

    from hub.accounts.models import Account
    from hub.repos import gitformat
    from hub.repos.models import Commit, GitObject, Ref, Repo
    from hub.store.models import Blob, BlobState

    people = Account.objects.bulk_create([Account(name=f"person-{number}") for number in range(100)])
    blob = Blob.objects.create(sha256="a" * 64, size=5 * MIB, state=BlobState.PRESENT)
    bodies = {"README.md": b"---\nlicense: mit\n---\n", "adapter_config.json": b"{}"}
    pointer = gitformat.pointer(blob.sha256, blob.size)
    entries = {name: gitformat.Entry(name, gitformat.blob_sha(body), False) for name, body in bodies.items()}
    large = "adapter_model.safetensors"
    entries[large] = gitformat.Entry(large, gitformat.blob_sha(pointer), False)
    tree, tree_body = gitformat.tree_bytes(entries)
    now, repos, rows, commits, refs = timezone.now(), [], [], [], []
    sha, commit_body = gitformat.commit_bytes(tree=tree, parents=[], author="a <a@b>", message="First", at=now)
    for number in range(REPOS):
        tags = ["peft", f"license:{('mit', 'apache-2.0', 'gpl')[number % 3]}", f"base_model:adapter:base/{number % 50}"]
        repo = Repo(owner=people[number % 100], name=f"adapter-{number}-for-words", head=sha, tags=tags)
        repo.likes, repo.downloads = number % 977, number % 3571
        repos.append(repo)
        objects = [(entries[name].sha, "blob", body, len(body), None) for name, body in bodies.items()]
        objects += [(entries[large].sha, "blob", pointer, blob.size, blob)]
        objects += [(tree, "tree", tree_body, 0, None), (sha, "commit", commit_body, 0, None)]
        rows += [GitObject(repo=repo, sha=s, kind=k, data=d, size=n, large=b) for s, k, d, n, b in objects]
        commits.append(Commit(repo=repo, sha=sha, tree=tree, title="First", created_at=now))
        refs.append(Ref(repo=repo, name="refs/heads/main", target=sha))
    for model, made in ((Repo, repos), (GitObject, rows), (Commit, commits), (Ref, refs)):
        model.objects.bulk_create(made, batch_size=2000)
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def server_times(addresses: list[str], method: str, headers: dict[str, str]) -> list[float]:
    """Milliseconds inside the process for each address, after a warm-up."""
    from django.test import Client

    client = Client(headers=headers)
    ask = getattr(client, method)
    for address in addresses[:20]:
        assert ask(address).status_code < 400
    return sorted(seconds(lambda address=address: ask(address)) * 1000 for address in addresses)


def small_answers() -> None:
    """HEAD of files, lists and searches, as somebody signed in."""
    from hub.accounts.models import Account
    from hub.accounts.tokens import create_token

    many_repos()
    _row, text = create_token(account=Account.objects.get(name="person-7"), label="bench")
    headers = {"Authorization": f"Bearer {text}"}
    numbers = [number * 7919 % REPOS for number in range(ASKED)]
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        heads = [f"/person-{n % 100}/adapter-{n}-for-words/resolve/main/{file}" for n in numbers]
        times = server_times(heads, "head", headers)
        p50, p95 = statistics.median(times), times[int(len(times) * 0.95)]
        tell("wire_resolve_head", file=file, repos=REPOS, p50_ms=p50, p95_ms=p95, target_p50_ms=15)
    lists = {
        "list": [f"/api/models?sort={sort}&limit=30" for sort in ("likes", "downloads", "lastModified")],
        "list_by_tag": [f"/api/models?filter=base_model:adapter:base/{n % 50}&filter=license:mit" for n in numbers],
        "list_full": ["/api/models?full=true&limit=30&author=person-3"],
        "search": [f"/api/models?search=adapter-{n}&limit=30" for n in numbers[:50]] + ["/api/models?search=nothing-x"],
    }
    for name, addresses in lists.items():
        times = server_times((addresses * ASKED)[:ASKED], "get", headers)
        p50, p95 = statistics.median(times), times[int(len(times) * 0.95)]
        tell(f"wire_{name}", repos=REPOS, p50_ms=p50, p95_ms=p95, target_p95_ms=100)


def main() -> None:
    """Both halves, on services of this run."""
    from tests import services as support

    support.prepare()
    import django
    from django.conf import settings
    from django.db import connections

    django.setup()
    from django.test.utils import setup_test_environment

    setup_test_environment()
    with support.running(), support.live_hub() as hub:
        large_files(hub, hub.create_account("bench"))
        name = f"test_{support.RUN}"
        support._execute(f'CREATE DATABASE "{name}" TEMPLATE "{support.template_database()}"')
        settings.DATABASES["default"]["NAME"] = connections["default"].settings_dict["NAME"] = name
        try:
            small_answers()
        finally:
            connections.close_all()
            support._execute(f'DROP DATABASE "{name}" WITH (FORCE)')


if __name__ == "__main__":
    main()
