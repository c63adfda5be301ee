"""Xet's hash of large files that are stored whole: clients want it before they copy such a file to another repo.

It is computed from the bytes once and then remembered. Only when somebody reads the file by that hash is it cut into
chunks, beside its whole object, to which plain downloads go on being sent.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from django.conf import settings
from django.core.cache import cache
from django.db import transaction

from hub.repos.chunking import may_use
from hub.repos.models import Repo
from hub.store import chunked, objects
from hub.store.cutting import store_chunks
from hub.store.models import Blob, BlobState
from hub.store.objects import StoreError
from hub.xet import hashes
from hub.xet.cutting import cut

MOST_READ = 256 * 1024 * 1024
"""Bytes that one request may have read to learn their hashes."""

MONTH = 30 * 24 * 3600
_NAME, _FILE = "xet-name:", "xet-file:"


def names_of(files: Collection[str]) -> dict[str, str]:
    """sha256 → Xet's hash, for those of these files that are whole, no larger than such files are meant to be, and read
    within the budget; asked again, the next ones are."""
    if not files:
        return {}
    known = cache.get_many([_NAME + sha256 for sha256 in files])
    names = {key.removeprefix(_NAME): str(name) for key, name in known.items()}
    whole = Blob.objects.filter(state=BlobState.PRESENT, whole=True, size__lte=settings.LIMITS["whole_bytes"])
    budget = MOST_READ
    for blob in whole.filter(pk__in=set(files) - set(names)).order_by("size"):
        budget -= blob.size
        if budget < 0:
            break
        with suppress(StoreError):  # who lists files does not need the store
            names[blob.sha256] = _name(blob)
    cache.set_many({_NAME + sha256: name for sha256, name in names.items()}, MONTH)
    cache.set_many({_FILE + name: sha256 for sha256, name in names.items()}, MONTH)
    return names


def cut_named(repo: Repo, name: str) -> Blob | None:
    """The file of a repo that `names_of` gave this name, now stored in chunks too; None if there is none.

    Raises StoreError.
    """
    here = Blob.objects.filter(git_objects__repo=repo, state=BlobState.PRESENT, whole=True)
    blob = here.filter(pk=cache.get(_FILE + name, "")).first()
    if blob is None:
        return None
    if not blob.xet_hash:
        terms, text = store_chunks(blob, may_use(blob))
        with transaction.atomic():
            chunked.write_terms(blob, terms, text)
        blob.refresh_from_db()
    return blob


def _name(blob: Blob) -> str:
    raws, lengths = [], []
    for chunk in cut(objects.stream(blob.key)):
        raws.append(hashes.chunk_hash(chunk))
        lengths.append(len(chunk))
    return hashes.to_text(hashes.file_hash(raws, lengths))
