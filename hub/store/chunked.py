"""Files stored as ranges of chunks: writing their terms, and rebuilding any range of them as a verified stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from hub.store import arrived, objects
from hub.store.models import Blob, BlobState, Xorb
from hub.store.models import Term as TermRow
from hub.store.xorbs import table_of
from hub.xet import planning, xorbs
from hub.xet.hashes import FormatError
from hub.xet.planning import Term

PIECE = 4 * 1024 * 1024
"""Bytes of a xorb that are fetched at once."""

_AHEAD = 2
"""Pieces fetched while one is being unpacked."""

FileTerm = Term[int]
"""A term whose xorb is named by its row's id."""


class Damaged(objects.StoreError):
    """Stored chunks are not what they were; check_store says which. The file's other copies are not touched."""


def terms_of(blob: Blob, first: int = 0, last: int | None = None) -> list[FileTerm]:
    """The terms that touch bytes `first` to `last` (exclusive), in order."""
    rows = TermRow.objects.filter(blob=blob).order_by("offset")
    if last is not None:
        rows = rows.filter(offset__lt=last)
    found = [Term(*row) for row in rows.values_list("xorb_id", "start", "end", "offset", "size")]
    return [term for term in found if term.offset + term.size > first]


def write_terms(blob: Blob, terms: Sequence[FileTerm], xet_hash: str) -> bool:
    """Make a blob one that is stored in chunks; False if it is already. Call in a transaction.

    Locks the xorbs, so that a collection running now lets them live. Raises StoreError if one is gone.
    """
    wanted = {term.xorb for term in terms}
    alive = Xorb.objects.select_for_update().filter(pk__in=wanted, state=BlobState.PRESENT).order_by("pk")
    if len(alive.values_list("pk", flat=True)) != len(wanted):
        raise objects.StoreError("Some chunks of this file are being removed from the store; send it again.")
    if not Blob.objects.filter(pk=blob.pk, xet_hash="").update(xet_hash=xet_hash):
        return False
    TermRow.objects.bulk_create(
        [
            TermRow(blob=blob, xorb_id=t.xorb, start=t.start, end=t.end, offset=t.offset, size=t.size) for t in terms
        ],
        batch_size=2000,
    )  # fmt: skip
    return True


def stream(blob: Blob, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Bytes `start` to `end` (exclusive) of a file stored in chunks. Raises Damaged, StoreError."""
    last = blob.size if end is None else min(end, blob.size)
    if start < last:
        yield from rebuild(terms_of(blob, start, last), start, last)


def rebuild(terms: Sequence[FileTerm], first: int, last: int, *, just_sent: bool = False) -> Iterator[bytes]:
    """Bytes `first` to `last` (exclusive) out of these terms, every chunk checked by its hash, in constant memory.

    With `just_sent` xorbs may be read from this machine's own disk. Raises Damaged, StoreError.
    """
    plan = planning.plan(terms, _Tables(), first, last)
    skip, left = plan.skip, last - first
    with ThreadPoolExecutor(_AHEAD) as pool:
        for term, body in _fetched(pool, _pieces(plan.terms), just_sent):
            try:
                for data in xorbs.unpack(body, table_of(term.xorb), term.start, term.end):
                    if skip:
                        data, skip = data[skip:], 0
                    data = data[:left]
                    left -= len(data)
                    yield data
            except FormatError as error:
                raise Damaged(f"A stored chunk has changed: {error}") from error
    if left:
        raise Damaged("The stored chunks of this file are fewer than it has bytes.")


def range_reader(blob: Blob) -> Callable[[int, memoryview], None]:
    """Fills memory with what lies at a place of a file in chunks, each checked by its hash.

    All that the database knows of it is read at once, so that any thread may call it without a connection of its own.
    """
    terms = terms_of(blob)
    tables = {key: table_of(key) for key in {term.xorb for term in terms}}
    addresses = {row.pk: row.key for row in Xorb.objects.only("hash").filter(pk__in=tables)}

    def read_into(start: int, target: memoryview) -> None:
        plan = planning.plan(terms, tables, start, start + len(target))
        skip = plan.skip
        for term in plan.terms:
            body = objects.read_range(addresses[term.xorb], *tables[term.xorb].body_range(term.start, term.end))
            try:
                for data in xorbs.unpack(body, tables[term.xorb], term.start, term.end):
                    data, skip = data[skip:], 0
                    data = data[: len(target)]
                    target[: len(data)] = data
                    target = target[len(data) :]
            except FormatError as error:
                raise Damaged(f"A stored chunk has changed: {error}") from error
        if target:
            raise Damaged("The stored chunks of this file are fewer than it has bytes.")

    return read_into


class _Tables(dict[int, xorbs.Table]):
    """Tables by the id of their xorb, loaded when asked for."""

    def __missing__(self, key: int) -> xorbs.Table:
        return table_of(key)


def _pieces(terms: Sequence[FileTerm]) -> Iterator[FileTerm]:
    for term in terms:
        yield from planning.pieces(term, table_of(term.xorb), PIECE)


def _fetched(pool: ThreadPoolExecutor, pieces: Iterator[FileTerm], just_sent: bool) -> Iterator[tuple[FileTerm, bytes]]:
    """Pieces with their bodies, the next ones already on their way. Equal neighbours are fetched once."""
    rows: dict[int, Xorb] = {}
    waiting: list[tuple[FileTerm, Future[bytes]]] = []

    def ask(term: FileTerm) -> None:
        if term.xorb not in rows:
            rows[term.xorb] = Xorb.objects.only("hash").get(pk=term.xorb)
        if waiting and (waiting[-1][0].xorb, waiting[-1][0].start, waiting[-1][0].end) == (
            term.xorb,
            term.start,
            term.end,
        ):
            waiting.append((term, waiting[-1][1]))
            return
        first, last = table_of(term.xorb).body_range(term.start, term.end)
        waiting.append((term, pool.submit(_body, rows[term.xorb], first, last, just_sent)))

    for term in islice(pieces, _AHEAD):
        ask(term)
    while waiting:
        term, body = waiting[0]
        yield term, body.result()
        for following in islice(pieces, 1):
            ask(following)
        waiting.pop(0)


def _body(xorb: Xorb, first: int, last: int, just_sent: bool) -> bytes:
    near = arrived.read(xorb.hash, first, last) if just_sent else None
    return objects.read_range(xorb.key, first, last) if near is None else near
