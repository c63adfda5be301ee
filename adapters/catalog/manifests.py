"""Manifests of safetensors files: measured once for each blob, looked up by its hash ever after."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict

from adapters.catalog import local
from adapters.diffs.manifest import manifest
from adapters.formats.errors import FormatError
from adapters.models import Held, Manifest, Tensor
from hub.jobs.running import Running
from hub.store.models import Blob

BATCH = 2000


def ensure(blobs: Iterable[Blob], running: Running, report: Callable[[int, int], None] | None = None) -> None:
    """Measure what is not measured yet, file by file. A file that breaks its format is left without a manifest."""
    wanted = {blob.sha256: blob for blob in blobs}
    known = set(Manifest.objects.filter(pk__in=wanted).values_list("pk", flat=True))
    for sha256, blob in wanted.items():
        if sha256 not in known:
            measure(blob, running, report)


def measure(blob: Blob, running: Running, report: Callable[[int, int], None] | None = None) -> None:
    """One file's manifest. Raises StoreError, WrongBytes, Cancelled, LostLease."""
    try:
        found = manifest(local.cached(blob), report)
    except FormatError:
        return
    tensors = [
        Tensor(**{name: value for name, value in asdict(facts).items() if name != "name"}) for facts in found.tensors
    ]
    with running.adopt():
        row, made = Manifest.objects.get_or_create(pk=blob.sha256, defaults={"header": found.header})
        if not made:
            return
        Tensor.objects.bulk_create(tensors, ignore_conflicts=True, batch_size=BATCH)
        Held.objects.bulk_create(
            [Held(manifest=row, position=place, name=facts.name, tensor_id=facts.key)
             for place, facts in enumerate(found.tensors)],
            batch_size=BATCH,
        )  # fmt: skip


def tensor_hashes(sha256s: Iterable[str]) -> dict[str, dict[str, str]]:
    """File hash → tensor name → sha256 of its bytes, for the files that have a manifest; one query."""
    return _by_file(sha256s, "tensor__sha256")


def keys(sha256s: Iterable[str]) -> dict[str, dict[str, str]]:
    """File hash → tensor name → tensor key, for the files that have a manifest; one query."""
    return _by_file(sha256s, "tensor_id")


def _by_file(sha256s: Iterable[str], what: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    rows = Held.objects.filter(manifest__in=set(sha256s)).order_by("manifest_id", "position")
    for sha256, name, value in rows.values_list("manifest_id", "name", what):
        found[sha256][name] = value
    return dict(found)
