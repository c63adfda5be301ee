"""Compares database and bucket both ways. A report, never a repair."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from hub.store import objects
from hub.store.models import Blob, BlobState, Upload


@dataclass
class Report:
    """What does not agree. `ok` is true if nothing needs attention."""

    checked: int = 0
    missing: list[str] = field(default_factory=list)
    wrong_size: list[str] = field(default_factory=list)
    wrong_hash: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.missing or self.wrong_size or self.wrong_hash or self.unknown)


def verify(*, hashes: bool = False, progress: Callable[[int], None] = lambda n: None) -> Report:
    """Compare every present blob with the bucket (with `hashes`, by its bytes) and every object with the database."""
    report = Report()
    stored = {info.key: info.size for info in objects.walk("blobs/")}
    known: set[str] = set()
    for blob in Blob.objects.iterator():
        known.add(blob.key)
        if blob.state != BlobState.PRESENT:
            continue
        report.checked += 1
        progress(report.checked)
        if blob.key not in stored:
            report.missing.append(blob.sha256)
        elif stored[blob.key] != blob.size:
            report.wrong_size.append(blob.sha256)
        elif hashes and _hash(blob.key) != blob.sha256:
            report.wrong_hash.append(blob.sha256)
    arriving = {upload.key for upload in Upload.objects.exclude(multipart_id="")}
    report.unknown = sorted(set(stored) - known - arriving)
    return report


def _hash(key: str) -> str:
    digest = hashlib.sha256()
    for chunk in objects.stream(key):
        digest.update(chunk)
    return digest.hexdigest()
