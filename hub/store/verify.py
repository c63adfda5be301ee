"""Compares database and bucket both ways. A report, never a repair."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from hub.store import chunked, objects, reading
from hub.store.models import Blob, BlobState, Prediction, Upload, Xorb
from hub.store.xorbs import table_of, table_stored
from hub.xet.hashes import FormatError


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
    stored = {info.key: info.size for prefix in ("blobs/", "xorbs/", "predicted/") for info in objects.walk(prefix)}
    known: set[str] = set()
    for xorb in Xorb.objects.defer("table").iterator():
        known.add(xorb.key)
        if xorb.state == BlobState.PRESENT:
            _check_xorb(report, xorb, stored.get(xorb.key), hashes=hashes)
            progress(report.checked)
    for prediction in Prediction.objects.defer("recipe").exclude(size=0).iterator():
        known.add(prediction.key)
        if prediction.state == BlobState.PRESENT:
            _check_payload(report, prediction, stored.get(prediction.key))
    for blob in Blob.objects.iterator():
        known.add(blob.key)
        if blob.state == BlobState.PRESENT:
            _check_blob(report, blob, stored.get(blob.key), hashes=hashes)
            progress(report.checked)
    arriving = {upload.key for upload in Upload.objects.exclude(multipart_id="")}
    report.unknown = sorted(set(stored) - known - arriving)
    return report


def _check_xorb(report: Report, xorb: Xorb, size: int | None, *, hashes: bool) -> None:
    """The object of a xorb; with `hashes` every chunk of it."""
    report.checked += 1
    if size is None:
        report.missing.append(f"xorb {xorb.hash}")
    elif size != xorb.size:
        report.wrong_size.append(f"xorb {xorb.hash}")
    elif hashes:
        try:
            sound = table_stored(xorb).to_bytes() == table_of(xorb.pk).to_bytes()
        except FormatError:
            sound = False
        if not sound:
            report.wrong_hash.append(f"xorb {xorb.hash}")


def _check_payload(report: Report, prediction: Prediction, size: int | None) -> None:
    """The object of a predicted file's payload; its bytes are checked by rebuilding the file."""
    report.checked += 1
    if size is None:
        report.missing.append(f"payload of {prediction.blob_id}")
    elif size != prediction.size:
        report.wrong_size.append(f"payload of {prediction.blob_id}")


def _check_blob(report: Report, blob: Blob, size: int | None, *, hashes: bool) -> None:
    """A file as it is read: its own object, its chunks, or what it follows from."""
    report.checked += 1
    if blob.whole and size is None:
        report.missing.append(blob.sha256)
    elif blob.whole and size != blob.size:
        report.wrong_size.append(blob.sha256)
    elif hashes and not _sound(blob):
        report.wrong_hash.append(blob.sha256)


def _sound(blob: Blob) -> bool:
    digest = hashlib.sha256()
    try:
        for chunk in reading.stream(blob):
            digest.update(chunk)
    except (chunked.Damaged, objects.ObjectMissing):
        return False
    return digest.hexdigest() == blob.sha256
