"""Files as a Xet client would send them: cut, packed into one xorb, described by a shard."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from hub.xet import hashes, packing, shards
from hub.xet.cutting import cut
from hub.xet.shards import Shard, ShardFile, ShardTerm, ShardXorb
from hub.xet.xorbs import Table


@dataclass(frozen=True)
class Sent:
    """One file in one xorb."""

    data: bytes
    body: bytes
    table: Table
    shard: Shard

    @property
    def xorb(self) -> str:
        return hashes.to_text(self.table.xorb_hash)

    @property
    def file(self) -> ShardFile:
        return self.shard.files[0]

    @property
    def text(self) -> str:
        """The Xet hash of the file."""
        return hashes.to_text(self.file.hash)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def shard_bytes(self, **changes: object) -> bytes:
        """The shard with some fields of its file changed."""
        return shards.serialize(Shard((replace(self.file, **changes),), self.shard.xorbs))


def make_file(data: bytes) -> Sent:
    """Cut and pack a file; its shard describes it as one term."""
    packer, raw = packing.Packer(), []
    for chunk in cut([data]):
        raw.append(hashes.chunk_hash(chunk))
        packer.add(raw[-1], chunk)
    body, table = packer.take()
    term = ShardTerm(table.xorb_hash, 0, len(table), len(data), hashes.range_hash(table.hashes))
    file = ShardFile(hashes.file_hash(raw, table.lengths.tolist()), (term,), hashlib.sha256(data).hexdigest())
    return Sent(
        data, body, table, Shard((file,), (ShardXorb(table.xorb_hash, table.hashes, table.lengths.astype(np.int64)),))
    )


def refer(sent: Sent, start: int, end: int) -> bytes:
    """A shard whose only file is a range of chunks of a xorb it does not bring along."""
    table = sent.table
    raw = [table.hash_at(number) for number in range(start, end)]
    lengths = table.lengths[start:end].tolist()
    term = ShardTerm(table.xorb_hash, start, end, sum(lengths), hashes.range_hash(table.raw_hashes(start, end)))
    return shards.serialize(Shard((ShardFile(hashes.file_hash(raw, lengths), (term,), None),), ()))
