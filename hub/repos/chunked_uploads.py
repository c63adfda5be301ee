"""Files that arrive as chunks: what a shard says is checked against what is stored, and against who may refer to it.

Nothing is believed: ranges, lengths, proofs and file hashes are computed from our own tables, and the sha256 from the
rebuilt bytes. A xorb that is gone and one that the sender may not read are answered alike.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.models import Account
from hub.repos.models import GitObject, Repo
from hub.rights import Verb
from hub.store import blobs, chunked, objects, xorbs
from hub.store.chunked import FileTerm
from hub.store.models import Blob, BlobState, Upload, Xorb, XorbClaim
from hub.store.models import Term as TermRow
from hub.xet import hashes, planning
from hub.xet.hashes import FormatError, to_text
from hub.xet.planning import Term
from hub.xet.shards import Shard, ShardFile, ShardXorb

MOST_FILES = 20_000
MOST_REBUILT = 4
"""One shard may describe files of so many times the largest allowed size together."""

SMALLEST, MOST_SMALL = 4096, 8192
"""Chunks of a shard's files: one for so many bytes, and so many more for small files and the ends of large ones.

Clients cut at 8 KiB at least, but a xorb may have chunks of one byte, and each one that is named costs memory here.
"""

AGAIN = "Remove the client's cache of this hub (the folder 'xet' in HF_HOME) and upload again."
ANSWER_SECONDS = 24 * 3600
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Checked:
    """A file whose hashes are right; its sha256 is still to be computed."""

    file: ShardFile
    terms: tuple[FileTerm, ...]


def register(actor: Actor, repo: Repo, shard: Shard, progress: Progress = lambda done, total: None) -> bool:
    """Make the files of a shard blobs that this actor may commit to this repo; False if they were that already.

    Raises rights.Denied, FormatError (nothing is registered), StoreError.
    """
    rights.require(actor, Verb.PROPOSE, repo)
    assert actor.account is not None
    _check_size(shard)
    named = {term.xorb for file in shard.files for term in file.terms} | {xorb.hash for xorb in shard.xorbs}
    rows = _usable(actor, named, shard)
    for xorb in shard.xorbs:
        _check_xorb(xorb, rows[xorb.hash])
    _check_chunks(shard, rows)
    checked = [_check_file(file, rows) for file in shard.files if file.terms]
    made, done = False, 0
    total = sum(one.file.size for one in checked)
    for one in checked:
        made = _register_file(one, actor.account, repo) or made
        done += one.file.size
        progress(done, total)
    xorbs.claim([rows[raw] for raw in _sent_by(actor.account, rows)], actor.account, xorbs.NAMED)
    return made


def described(actor: Actor, raw_chunk: bytes) -> tuple[Xorb, ...]:
    """Xorbs that have this chunk and that the actor may read entirely; they may be referred to from now on."""
    places = xorbs.find_chunks([raw_chunk]).get(raw_chunk, [])
    if not places or actor.account is None:
        return ()
    rows = {row.pk: row for row in Xorb.objects.defer("table").filter(pk__in={key for key, _number in places})}
    readable = readable_ranges(actor, rows)
    mine = set(XorbClaim.objects.filter(account=actor.account, xorb__in=rows).values_list("xorb_id", flat=True))
    found = [
        row for key, row in rows.items() if key in mine or planning.covers(readable[key], 0, len(xorbs.table_of(key)))
    ]
    xorbs.claim(found, actor.account, xorbs.NAMED)
    return tuple(found)


def readable_ranges(actor: Actor, keys: Iterable[int]) -> dict[int, list[tuple[int, int]]]:
    """Xorb's id → ranges of chunks that stand in files of repos this actor may read, joined."""
    visible = GitObject.objects.filter(repo__in=Repo.objects.visible_to(actor), large__isnull=False)
    return ranges_within(keys, visible.values("large_id"))


def ranges_within(keys: Iterable[int], blob_keys: QuerySet[GitObject, Any]) -> dict[int, list[tuple[int, int]]]:
    """Xorb's id → ranges of chunks that files of a queryset of sha256 values use, joined."""
    pairs: dict[int, list[tuple[int, int]]] = defaultdict(list)
    rows = TermRow.objects.filter(xorb__in=list(keys), blob__in=blob_keys).values_list("xorb_id", "start", "end")
    for key, start, end in rows.distinct():
        pairs[key].append((start, end))
    return defaultdict(list, {key: planning.join(found) for key, found in pairs.items()})


def _check_size(shard: Shard) -> None:
    largest = settings.LIMITS["file_bytes"]
    if len(shard.files) > MOST_FILES:
        raise FormatError(f"A shard may describe {MOST_FILES:,} files at most.")
    for file in shard.files:
        if file.size > largest:
            raise FormatError(f"A file of {file.size:,} bytes is more than the {largest:,} allowed.")
    if sum(file.size for file in shard.files) > MOST_REBUILT * largest:
        raise FormatError("The files of this shard are too large together; send them in several.")


def _usable(actor: Actor, named: set[bytes], shard: Shard) -> dict[bytes, Xorb]:
    """Raw hash → row of every xorb the shard names. Raises FormatError for one that is gone or foreign."""
    present = xorbs.present(to_text(raw) for raw in named)
    rows = {raw: present[to_text(raw)] for raw in named if to_text(raw) in present}
    assert actor.account is not None
    mine = _sent_by(actor.account, rows)
    foreign = {rows[raw].pk for raw in rows if raw not in mine}
    readable = readable_ranges(actor, foreign) if foreign else {}
    for raw in named:
        if raw not in rows:
            raise _gone(raw)
    for xorb in shard.xorbs:
        if xorb.hash not in mine:
            raise _gone(xorb.hash)
    for file in shard.files:
        for term in file.terms:
            if term.xorb not in mine and not planning.covers(readable[rows[term.xorb].pk], term.start, term.end):
                raise _gone(term.xorb)
    return rows


def _sent_by(account: Account, rows: dict[bytes, Xorb]) -> set[bytes]:
    keys = set(
        XorbClaim.objects.filter(account=account, xorb__in=[row.pk for row in rows.values()]).values_list(
            "xorb_id", flat=True
        )
    )
    return {raw for raw, row in rows.items() if row.pk in keys}


def _gone(raw: bytes) -> FormatError:
    return FormatError(f"The chunks of xorb {to_text(raw)[:16]}… are not stored here for you. {AGAIN}")


def _check_xorb(claimed: ShardXorb, row: Xorb) -> None:
    table = xorbs.table_of(row.pk)
    if claimed.hashes != table.hashes or not np.array_equal(claimed.lengths, table.lengths):
        raise FormatError("The shard describes other chunks than the xorb has.")


def _check_chunks(shard: Shard, rows: dict[bytes, Xorb]) -> None:
    """Do the terms fit their xorbs, with no more chunks than so many bytes may have? Raises FormatError.

    Looks at the terms alone, so that a small shard cannot name more chunks than memory holds.
    """
    chunks = size = 0
    for file in shard.files:
        for term in file.terms:
            table = xorbs.table_of(rows[term.xorb].pk)
            if term.end > len(table) or term.size != table.unpacked(term.start, term.end):
                raise FormatError("A term of a file does not fit its xorb.")
            chunks += term.end - term.start
            size += term.size
    most = size // SMALLEST + len(shard.files) + MOST_SMALL
    if chunks > most:
        raise FormatError(
            f"The files of this shard are cut into {chunks:,} chunks, more than the {most:,} that their {size:,} bytes "
            f"may have. Cut them into chunks of {SMALLEST:,} bytes or more."
        )


def _check_file(file: ShardFile, rows: dict[bytes, Xorb]) -> Checked:
    """Proofs and the file's hash against our tables. Raises FormatError."""
    terms: list[FileTerm] = []
    raw: list[bytes] = []
    lengths: list[int] = []
    offset = 0
    for term in file.terms:
        row = rows[term.xorb]
        table = xorbs.table_of(row.pk)
        known = table.raw_hashes(term.start, term.end)
        if hashes.range_hash(known) != term.proof:
            raise FormatError("The verification hash of a term is wrong.")
        raw += [known[at : at + hashes.SIZE] for at in range(0, len(known), hashes.SIZE)]
        lengths += table.lengths[term.start : term.end].tolist()
        terms.append(Term(row.pk, term.start, term.end, offset, term.size))
        offset += term.size
    if hashes.file_hash(raw, lengths) != file.hash:
        raise FormatError("The chunks of a file do not add up to its hash.")
    return Checked(file, tuple(terms))


def _register_file(checked: Checked, account: Account, repo: Repo) -> bool:
    """Rebuild a file, hash it, and write its rows. Raises FormatError if the sha256 is another than was said."""
    file, text = checked.file, to_text(checked.file.hash)
    known = Blob.objects.filter(xet_hash=text, state=BlobState.PRESENT, size=file.size).first()
    sha256 = known.sha256 if known else _sha256(checked.terms, file.size)
    if file.sha256 not in (None, sha256):
        raise FormatError(f"The sha256 of a file is {sha256[:12]}…, not {str(file.sha256)[:12]}…. Nothing was stored.")
    if known is None:
        blob = blobs.pending(sha256, file.size)
        with transaction.atomic():
            chunked.write_terms(blob, checked.terms, text)
            Blob.objects.filter(pk=sha256, state=BlobState.PENDING).update(state=BlobState.PRESENT, whole=False)
    until = timezone.now() + timedelta(seconds=settings.LIMITS["upload_seconds"])
    mine = {"account": account, "repo_key": repo.pk.hex, "sha256": sha256, "size": file.size}
    if Upload.objects.filter(**mine, finished_at__isnull=False, expires_at__gt=timezone.now()).exists():
        return False
    Upload.objects.create(**mine, expires_at=until, finished_at=timezone.now())
    return True


def _sha256(terms: tuple[FileTerm, ...], size: int) -> str:
    digest = hashlib.sha256()
    try:
        for piece in chunked.rebuild(terms, 0, size, just_sent=True):
            digest.update(piece)
    except (objects.ObjectMissing, chunked.Damaged) as error:
        raise FormatError(f"Stored chunks of this file were lost. {AGAIN}") from error
    return digest.hexdigest()
