"""How xorbs come into the store: verified as a stream, put under their hash once, and indexed by chunk.

Row `pending` → object at its key → row `present` with the table of exactly that object. The first serialization of a
xorb that was stored stays: equal xorbs may differ as bytes, since chunks may be compressed in several ways.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import lru_cache
from typing import IO

import numpy as np
from django.db import transaction
from django.utils import timezone

from hub.accounts.models import Account
from hub.store import arrived, objects
from hub.store.models import BlobState, Xorb, XorbChunk, XorbClaim
from hub.xet import xorbs
from hub.xet.hashes import SIZE, FormatError, to_text
from hub.xet.xorbs import Table, table_from

SENT, NAMED = timedelta(days=7), timedelta(days=28)
"""How long a claim lives after a xorb was sent, and after a shard named it: clients refer to it for three weeks."""

_DOOMED_TRIES, _DOOMED_WAIT = 50, 0.2


def receive(read: Callable[[int], bytes], text: str, account: Account) -> bool:
    """Take in a xorb that its sender calls by this hash; False if this account has sent it before. Memory stays small.

    Raises FormatError (nothing is stored), StoreError.
    """
    with arrived.spool() as path:
        with path.open("w+b") as body:
            table = xorbs.verify(read, body.write)
            if to_text(table.xorb_hash) != text:
                raise FormatError("The chunks of this xorb do not add up to its hash. Nothing was stored.")
            xorb = keep(body, table)
        if table_of(xorb.pk).to_bytes() == table.to_bytes():
            arrived.keep(path, text)
    before = XorbClaim.objects.filter(xorb=xorb, account=account).exists()
    claim([xorb], account, SENT)
    return not before


def keep(body: IO[bytes], table: Table) -> Xorb:
    """Store a verified body, unless the same xorb is here; returns its row. Raises StoreError."""
    xorb = _pending(to_text(table.xorb_hash))
    if xorb.state == BlobState.PRESENT:
        _heal(xorb, body, table)
        return xorb
    body.seek(0)
    if not objects.put_if_absent(xorb.key, body):
        table = _stored_table(xorb, body, table)
    _now_present(xorb, table)
    return xorb


def claim(rows: Iterable[Xorb], account: Account, lasting: timedelta) -> None:
    """Let an account refer to xorbs it has sent or may read entirely; a longer claim is never shortened."""
    until = timezone.now() + lasting
    keys = [row.pk for row in rows]
    XorbClaim.objects.bulk_create(
        [XorbClaim(xorb_id=key, account=account, expires_at=until) for key in keys], ignore_conflicts=True
    )
    XorbClaim.objects.filter(xorb__in=keys, account=account, expires_at__lt=until).update(expires_at=until)


def present(texts: Iterable[str]) -> dict[str, Xorb]:
    """Hash → row of those that are stored; without their tables."""
    rows = Xorb.objects.defer("table").filter(hash__in=set(texts), state=BlobState.PRESENT)
    return {row.hash: row for row in rows}


@lru_cache(maxsize=64)
def table_of(key: int) -> Table:
    """The table of a stored xorb by its row's id. It never changes, so a few stay in memory."""
    return table_from(Xorb.objects.values_list("table", flat=True).get(pk=key))


def prefix_of(raw: bytes) -> int:
    """The number under which a chunk is indexed."""
    return int.from_bytes(raw[:8], "little", signed=True)


def find_chunks(raws: Iterable[bytes]) -> dict[bytes, list[tuple[int, int]]]:
    """Raw chunk hash → (xorb's id, number of the chunk) wherever it is stored."""
    by_prefix: dict[int, bytes] = {prefix_of(raw): raw for raw in raws}
    found: dict[bytes, list[tuple[int, int]]] = {}
    rows = XorbChunk.objects.filter(prefix__in=list(by_prefix), xorb__state=BlobState.PRESENT)
    for prefix, key, number in rows.values_list("prefix", "xorb_id", "number"):
        if table_of(key).hash_at(number) == by_prefix[prefix]:
            found.setdefault(by_prefix[prefix], []).append((key, number))
    return found


def _pending(text: str) -> Xorb:
    """The row to fill. Waits while a collection is deleting the same xorb."""
    for _ in range(_DOOMED_TRIES):
        xorb, _made = Xorb.objects.defer("table").get_or_create(hash=text)
        if xorb.state != BlobState.DOOMED:
            return xorb
        time.sleep(_DOOMED_WAIT)
    raise objects.StoreError("These chunks are being removed from the store at this moment; try again in a minute.")


def _heal(xorb: Xorb, body: IO[bytes], table: Table) -> None:
    """Put a lost object again if the same bytes are sent: other ones would not fit the table that is known of it."""
    try:
        objects.head(xorb.key)
    except objects.ObjectMissing:
        if table_of(xorb.pk).to_bytes() == table.to_bytes():
            body.seek(0)
            objects.put(xorb.key, body)


def table_stored(xorb: Xorb) -> Table:
    """The table of the object as it is now, every chunk read and hashed. Raises FormatError, StoreError."""
    pieces = objects.stream(xorb.key)
    waiting = bytearray()

    def read(count: int) -> bytes:
        while len(waiting) < count and (piece := next(pieces, b"")):
            waiting.extend(piece)
        taken = bytes(waiting[:count])
        del waiting[:count]
        return taken

    return xorbs.verify(read)


def _stored_table(xorb: Xorb, body: IO[bytes], table: Table) -> Table:
    """Somebody's object is at the key already, perhaps in other bytes: its own table counts. A damaged one goes."""
    try:
        found = table_stored(xorb)
        if found.hashes == table.hashes:
            return found
    except FormatError:
        pass
    body.seek(0)
    objects.put(xorb.key, body)
    return table


def _now_present(xorb: Xorb, table: Table) -> None:
    """Fill the row, once. If somebody else was faster, their table is of the same object."""
    fields = {"state": BlobState.PRESENT, "size": int(table.ends[-1]), "unpacked": table.unpacked(0, len(table))}
    with transaction.atomic():
        if not Xorb.objects.filter(pk=xorb.pk, state=BlobState.PENDING).update(table=table.to_bytes(), **fields):
            return
        prefixes = np.frombuffer(table.hashes, dtype="<i8")[:: SIZE // 8].tolist()
        XorbChunk.objects.bulk_create(
            [XorbChunk(prefix=prefix, xorb=xorb, number=number) for number, prefix in enumerate(prefixes)],
            batch_size=2000,
        )
