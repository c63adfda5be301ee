"""How bytes become a blob: hashed by us, stored under their hash, and only then `present`.

Order (a crash at any point leaves only collectable garbage, never a dangling reference):
bytes under `incoming/` → server reads and hashes → Blob row `pending` → object at its final key → row `present`.
What arrives in parts is at its final key as soon as the parts are joined; it becomes a blob only after it was hashed.
"""

import hashlib
import tempfile
import time
import uuid
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from hub.accounts.models import Account
from hub.store import objects
from hub.store.models import Blob, BlobState, Upload, blob_key
from hub.store.reading import stream

DOOMED_TRIES, DOOMED_WAIT = 50, 0.2
WHOLE_BYTES = 16 * 1024 * 1024
"""Up to this size one PUT is simpler than parts."""


class WrongBytes(Exception):
    """What arrived is not what was announced; nothing was kept."""


def present(sha256: str) -> Blob | None:
    """The blob of that hash if its bytes are stored and hashed, else None."""
    return Blob.objects.filter(pk=sha256, state=BlobState.PRESENT).first()


def keep(sha256: str) -> Blob | None:
    """The blob as `present` gives it, kept from now on for the whole grace time though nothing may refer to it."""
    now = timezone.now()
    Blob.objects.filter(pk=sha256, state=BlobState.PRESENT, unreferenced_since__lt=now).update(unreferenced_since=now)
    return present(sha256)


def store_bytes(data: bytes) -> Blob:
    """Store bytes we hold. Raises StoreError."""
    sha256 = hashlib.sha256(data).hexdigest()
    blob = pending(sha256, len(data))
    if blob.state != BlobState.PRESENT:
        objects.put_if_absent(blob.key, data)
    return _now_present(blob)


def store_file(path: Path) -> Blob:
    """Store a local file (a job's output, a large commit body). Raises StoreError."""
    sha256, size = _hash_file(path)
    blob = pending(sha256, size)
    if blob.state != BlobState.PRESENT:
        if size <= settings.LIMITS["part_bytes"]:
            with path.open("rb") as body:
                objects.put_if_absent(blob.key, body)
        else:
            _put_in_parts(blob.key, path)
    return _now_present(blob)


def part_size(size: int) -> int:
    """How large the parts of an upload should be; 0 for a single PUT. In parts is cheaper: the bytes stay in place."""
    part = int(settings.LIMITS["part_bytes"])
    return part if size > min(part, WHOLE_BYTES) else 0


def open_upload(*, account: Account, repo_key: str, sha256: str, size: int, part_size: int = 0) -> Upload:
    """Announce bytes of a known hash; an unfinished upload of the same bytes by the same person goes on."""
    now = timezone.now()
    going_on = Upload.objects.filter(
        account=account, repo_key=repo_key, sha256=sha256, size=size, part_size=part_size,
        finished_at=None, expires_at__gt=now + timedelta(minutes=5),
    ).first()  # fmt: skip
    if going_on:
        return going_on
    upload = Upload(
        account=account,
        repo_key=repo_key,
        sha256=sha256,
        size=size,
        part_size=part_size,
        expires_at=now + timedelta(seconds=settings.LIMITS["upload_seconds"]),
    )
    if part_size:
        upload.multipart_id = objects.start_multipart(upload.key)
    upload.save()
    return upload


def finish_upload(upload: Upload, etags: dict[int, str] | None = None) -> Blob:
    """Read what arrived, hash it, keep it if it is what was announced. Finishing twice is a success.

    Raises WrongBytes (nothing kept), ObjectMissing (nothing arrived), StoreError.
    """
    done = present(upload.sha256)
    if upload.finished_at and done:
        return done
    blob = _finish_parts(upload, etags) if upload.multipart_id else _finish_whole(upload)
    if blob.key != upload.key:
        objects.delete(upload.key)
    return blob


def _finish_parts(upload: Upload, etags: dict[int, str] | None) -> Blob:
    """Joined parts cannot be changed from outside: hash them where they are and let them stay.

    Hashing takes long, and an upload that is over is collected meanwhile: under its lock we look whether it was.
    """
    if not _exists(upload.key):
        parts = etags or objects.parts_present(upload.key, upload.multipart_id)
        if len(parts) < upload.parts:
            raise objects.ObjectMissing(f"{len(parts)} of {upload.parts} parts have arrived; send the others first.")
        objects.finish_multipart(upload.key, upload.multipart_id, parts)
    _check(upload, *_hash_stream(objects.stream(upload.key)))
    pending(upload.sha256, upload.size)
    with transaction.atomic():
        mine = Upload.objects.select_for_update().filter(pk=upload.pk).first()
        blob = Blob.objects.select_for_update().exclude(state=BlobState.DOOMED).filter(pk=upload.sha256).first()
        if mine is None or blob is None or (blob.state == BlobState.PENDING and not _exists(upload.key)):
            raise objects.ObjectMissing("This upload was over before its bytes were hashed; announce the file again.")
        if blob.state == BlobState.PENDING:
            blob.state, blob.location = BlobState.PRESENT, upload.key
            blob.save(update_fields=["state", "location"])
        _mark_finished(upload)
    return blob


def _finish_whole(upload: Upload) -> Blob:
    """Whoever has the address may write it again at any moment: keep exactly the bytes that were hashed."""
    with tempfile.TemporaryDirectory(prefix="tessera-") as folder:
        path = Path(folder) / "bytes"
        with path.open("wb") as out:
            for chunk in objects.stream(upload.key):
                out.write(chunk)
        _check(upload, *_hash_file(path))
        blob = store_file(path)
    _mark_finished(upload)
    return blob


def _mark_finished(upload: Upload) -> None:
    Upload.objects.filter(pk=upload.pk).update(finished_at=timezone.now())


def _check(upload: Upload, digest: str, size: int) -> None:
    if (digest, size) == (upload.sha256, upload.size):
        return
    objects.delete(upload.key)
    Upload.objects.filter(pk=upload.pk).delete()
    raise WrongBytes(
        f"Announced {upload.size} bytes with sha256 {upload.sha256[:12]}…, received {size} bytes with "
        f"{digest[:12]}…. Nothing was stored; upload the file again."
    )


def download(blob: Blob, target: Path) -> None:
    """Copy a blob to a local file, checking its hash on the way. Raises WrongBytes, StoreError."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for chunk in stream(blob):
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != blob.sha256:
        target.unlink()
        raise WrongBytes(f"The stored bytes of {blob.sha256[:12]}… have changed; run check_store.")


def pending(sha256: str, size: int) -> Blob:
    """The row to fill. Waits while a collection is deleting the same bytes, so that it cannot delete ours."""
    for _ in range(DOOMED_TRIES):
        with transaction.atomic():
            Blob.objects.get_or_create(pk=sha256, defaults={"size": size, "unreferenced_since": timezone.now()})
            blob = Blob.objects.select_for_update().filter(pk=sha256).first()
            if blob and blob.state != BlobState.DOOMED:
                if blob.unreferenced_since:
                    blob.unreferenced_since = timezone.now()
                    blob.save(update_fields=["unreferenced_since"])
                return blob
        time.sleep(DOOMED_WAIT)
    raise objects.StoreError("These bytes are being removed from the store at this moment; try again in a minute.")


def _now_present(blob: Blob) -> Blob:
    """The row after its bytes were put under their hash. If an upload in parts was faster, its copy counts."""
    Blob.objects.filter(pk=blob.pk, state=BlobState.PENDING).update(state=BlobState.PRESENT)
    before = blob.state
    blob.refresh_from_db()
    if before != BlobState.PRESENT and blob.location:
        objects.delete(blob_key(blob.sha256))
    return blob


def _exists(key: str) -> bool:
    try:
        objects.head(key)
    except objects.ObjectMissing:
        return False
    return True


def _hash_stream(chunks: Iterable[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _hash_file(path: Path) -> tuple[str, int]:
    with path.open("rb") as body:
        return hashlib.file_digest(body, "sha256").hexdigest(), path.stat().st_size


def _put_in_parts(key: str, path: Path) -> None:
    """Upload a large local file through `incoming/`, so that the final key appears whole."""
    incoming = f"incoming/{uuid.uuid4()}"
    with path.open("rb") as body:
        objects.put_large(incoming, body)
    objects.copy(incoming, key)
    objects.delete(incoming)
