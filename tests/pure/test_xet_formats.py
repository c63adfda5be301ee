"""Chunks, xorbs, shards and their hashes: published vectors, round trips, and bytes that lie."""

import hashlib
import io
import random

import lz4.frame
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hub.xet import chunks, cutting, hashes, packing, planning, shards, xorbs
from hub.xet.hashes import FormatError, from_text, to_text
from hub.xet.shards import Shard, ShardFile, ShardTerm, ShardXorb

V1 = b"0123456789"
V2 = bytes((np.arange(1_000_000, dtype=np.int64) * 7 % 251).astype(np.uint8))
V3 = bytes(2_000_000)
V4 = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(100_000))
V5 = np.arange(300_000, dtype="<u4").tobytes() + b"ab"
VECTORS = [
    (V1, 1, "bcdabd01e6286721f6fc4f53bdc8eebeabbd1c260a1e2dc597638010acb294c5",
     "7176c73a77080800b03f8e5789544a56e13538811768a79fa89edf09e0c6a2f7"),
    (V2, 8, "765628ce7448c48c08104e1502f4ce5f537825d1ddd01890147c865f1db11b33",
     "c525eebd3ceb24e239dd9fe821d6f033eae99192154451db4f88fbb6d160f226"),
    (V3, 16, "359455d70bad55ecd92a954f22f04f6a4757eb12939df6034c9f7487af563c25",
     "a2055a0538e615f231b1eb7d7fb1507dbedac62bc03709c44688312a943a266b"),
    (V4, 50, "8b8199699fe958a77b4211eeb4510e9ea43bedfabb74d79cae1661d77f33ad55",
     "45060e178a2f427b751ba372946cf2c564cb7bb3ba6392a92b71216e72410cfb"),
    (V5, 25, "9ff30c55e433d9c707dfe27fddc40e6a5b45718d545b51060bc9e9fcf7811f31",
     "41c79b24554a68a216e8b29712691a920c6ca0783ee6110f9fa9c81b6d875072"),
]  # fmt: skip
RANGES = {
    1: "88d7b1be86ee02b733eae8ce2ebd2526bd8e184778e520f34b048d8ae31a4cee",
    8: "10fda5b682049cb91769d91a605a4f345b4305a887de1af8d7664b89b7e15f24",
    50: "d389f560aa0156735d02893d43ac0247e3a6fa9814ecee37346b7b055abd6873",
    25: "5d3a9199c365afe42e7be2fffd7ad3f933a3e47c329e9dfc4a2cbe664ba88cd7",
}


def pack(pieces: list[bytes]) -> tuple[bytes, xorbs.Table]:
    packer = packing.Packer()
    for piece in pieces:
        packer.add(hashes.chunk_hash(piece), piece)
    return packer.take()


@pytest.mark.parametrize(("data", "count", "file", "root"), VECTORS, ids=["V1", "V2", "V3", "V4", "V5"])
def test_published_vectors(data: bytes, count: int, file: str, root: str) -> None:
    found = list(cutting.cut([data]))
    raw, lengths = [hashes.chunk_hash(chunk) for chunk in found], [len(chunk) for chunk in found]
    assert len(found) == count
    assert to_text(hashes.file_hash(raw, lengths)) == file
    assert to_text(hashes.root(raw, lengths)) == root
    if count in RANGES:
        assert to_text(hashes.range_hash(b"".join(raw))) == RANGES[count]


def test_the_bytes_of_a_known_xorb() -> None:
    body, table = pack([V1])
    assert body.hex() == "000a0000000a000030313233343536373839"
    assert to_text(table.xorb_hash) == VECTORS[0][3]


@given(st.binary(min_size=32, max_size=32))
def test_text_form_goes_both_ways(raw: bytes) -> None:
    assert from_text(to_text(raw)) == raw


@pytest.mark.parametrize("text", ["", "g" * 64, "A" * 64, "0" * 63, "0" * 65])
def test_bad_text_forms(text: str) -> None:
    with pytest.raises(FormatError):
        from_text(text)


@given(st.integers(0, 400_000), st.integers(1, 5), st.integers(1, 50_000))
@settings(max_examples=25)
def test_cutting_does_not_depend_on_the_pieces(size: int, symbols: int, piece: int) -> None:
    data = np.random.default_rng(size).integers(0, symbols * 51 + 1, size, dtype=np.uint8).tobytes()
    whole = list(cutting.cut([data]))
    assert b"".join(whole) == data
    assert all(cutting.MIN_CHUNK <= len(chunk) <= cutting.MAX_CHUNK for chunk in whole[:-1])
    assert list(cutting.cut(data[at : at + piece] for at in range(0, len(data), piece))) == whole


def test_an_edit_changes_only_its_neighbourhood() -> None:
    data = bytearray(random.Random(1).randbytes(2_000_000))
    before = {hashes.chunk_hash(chunk) for chunk in cutting.cut([bytes(data)])}
    data[1_000_000:1_000_000] = b"inserted"
    after = [hashes.chunk_hash(chunk) for chunk in cutting.cut([bytes(data)])]
    assert len([one for one in after if one not in before]) <= 4


@given(st.binary(min_size=1, max_size=3000), st.sampled_from([chunks.NONE, chunks.LZ4, chunks.BG4]))
@example(bytes(range(10)), chunks.BG4)
@example(bytes(131072), chunks.BG4)
def test_a_chunk_goes_both_ways(data: bytes, scheme: int) -> None:
    packed = chunks.pack(data, scheme)
    used, size, length = chunks.read_header(packed[:8])
    assert (size, length) == (len(packed) - 8, len(data))
    assert chunks.unpack(used, packed[8:], length) == data


def test_planes_are_those_of_the_format() -> None:
    assert chunks._split_planes(bytes(range(10))) == bytes([0, 4, 8, 1, 5, 9, 2, 6, 3, 7])


def test_a_bomb_is_not_unpacked() -> None:
    bomb = lz4.frame.compress(bytes(30_000_000))
    assert len(bomb) < chunks.MAX_PAYLOAD
    for length in (1, 100, chunks.MAX_CHUNK):
        with pytest.raises(FormatError, match="does not hold"):
            chunks.unpack(chunks.LZ4, bomb, length)


@pytest.mark.parametrize(
    ("scheme", "payload"),
    [(1, b"no frame"), (1, lz4.frame.compress(b"x" * 9)), (1, lz4.frame.compress(b"x" * 10) + b"more"),
     (1, lz4.frame.compress(b"x" * 10)[:-3]), (2, b""), (1, b"\x50\x2a\x4d\x18\x04\0\0\0abcd")],
)  # fmt: skip
def test_bad_frames(scheme: int, payload: bytes) -> None:
    with pytest.raises(FormatError):
        chunks.unpack(scheme, payload, 10)


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=40), st.integers(1, 64))
@settings(max_examples=50)
def test_a_xorb_goes_both_ways(pieces: list[bytes], step: int) -> None:
    body, made = pack(pieces)
    source, kept = io.BytesIO(body), io.BytesIO()
    table = xorbs.verify(lambda count: source.read(min(count, step)), kept.write)
    assert kept.getvalue() == body
    assert table.to_bytes() == made.to_bytes() == xorbs.table_from(table.to_bytes()).to_bytes()
    assert table.xorb_hash == hashes.root([hashes.chunk_hash(piece) for piece in pieces], [len(p) for p in pieces])
    start = len(pieces) // 3
    first, last = table.body_range(start, len(pieces))
    assert list(xorbs.unpack(body[first:last], table, start, len(pieces))) == pieces[start:]


def footer_of(table: xorbs.Table) -> bytes:
    count = len(table)
    number = count.to_bytes(4, "little")
    cumulative = np.cumsum(table.lengths).astype("<u4").tobytes()
    sections = b"XBLBHSH\0" + number + table.hashes + b"XBLBBND\1" + number + table.ends.tobytes() + cumulative
    footer = b"XETBLOB\1" + table.xorb_hash + sections + number
    footer += (len(sections) + 28).to_bytes(4, "little") + (16 + 12).to_bytes(4, "little") + b"salt" + bytes(12)
    return footer + len(footer).to_bytes(4, "little")


def test_footers_of_other_clients_are_checked_and_dropped() -> None:
    body, table = pack([b"one", b"two" * 50])
    footer, kept = footer_of(table), io.BytesIO()
    assert len(footer) == 92 + 40 * 2 + 4
    assert xorbs.verify(io.BytesIO(body + footer).read, kept.write).to_bytes() == table.to_bytes()
    assert kept.getvalue() == body
    wrong = bytearray(footer)
    wrong[50] ^= 1
    for bad in (bytes(wrong), footer + b"x", footer[:-1], b"XETBLOB" + bytes(1_000_000)):
        with pytest.raises(FormatError):
            xorbs.verify(io.BytesIO(body + bad).read)


@given(st.data())
@settings(max_examples=200)
def test_damaged_xorbs_are_refused_or_are_other_xorbs(data: st.DataObject) -> None:
    body, table = pack([b"a" * 100, bytes(range(256)) * 4, b"c"])
    damaged = bytearray(body)
    at = data.draw(st.integers(0, len(body) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(body)))
    for bad in (bytes(damaged), body[:cut], bytes(damaged) + b"\0" * 7):
        try:
            found = xorbs.verify(io.BytesIO(bad).read)
        except FormatError:
            continue
        assert bad == body or found.xorb_hash != table.xorb_hash or found.hashes == table.hashes


def test_too_many_and_too_large() -> None:
    one = chunks.pack(b"x", chunks.NONE)
    with pytest.raises(FormatError, match="at most"):
        xorbs.verify(io.BytesIO(one * (xorbs.MAX_CHUNKS + 1)).read)
    with pytest.raises(FormatError, match="at most"):
        xorbs.verify(io.BytesIO(chunks.pack(bytes(131072), chunks.LZ4) * 513).read)
    with pytest.raises(FormatError, match="at least one"):
        xorbs.verify(io.BytesIO(b"").read)


def make_shard() -> Shard:
    pieces = [b"one", b"two" * 50, b"three"]
    _body, table = pack(pieces)
    raw = [table.hash_at(number) for number in range(3)]
    terms = (
        ShardTerm(table.xorb_hash, 0, 2, 153, hashes.range_hash(table.raw_hashes(0, 2))),
        ShardTerm(table.xorb_hash, 2, 3, 5, hashes.range_hash(table.raw_hashes(2, 3))),
    )
    whole = b"".join(pieces)
    files = (
        ShardFile(hashes.file_hash(raw, [3, 150, 5]), terms, hashlib.sha256(whole).hexdigest()),
        ShardFile(hashes.ZERO, (), None),
    )
    return Shard(files, (ShardXorb(table.xorb_hash, table.hashes, table.lengths.astype(np.int64)),))


def same(left: Shard, right: Shard) -> bool:
    def key(shard: Shard) -> object:
        return set(shard.files), {(xorb.hash, xorb.hashes, tuple(xorb.lengths.tolist())) for xorb in shard.xorbs}

    return key(left) == key(right)


@pytest.mark.parametrize("expires", [None, 2_000_000_000])
def test_a_shard_goes_both_ways(expires: int | None) -> None:
    assert same(shards.parse(shards.serialize(make_shard(), expires=expires)), make_shard())


@given(st.data())
@settings(max_examples=300)
def test_damaged_shards_raise_only_format_errors(data: st.DataObject) -> None:
    good = shards.serialize(make_shard())
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    for bad in (bytes(damaged), good[:cut], good + b"x"):
        try:
            shards.parse(bad)
        except FormatError:
            continue
        assert len(bad) == len(good)


def test_files_without_proof_are_refused() -> None:
    good = bytearray(shards.serialize(make_shard()))
    good[48 + 35] &= 0x7F  # the flags of the first file
    with pytest.raises(FormatError, match="verification"):
        shards.parse(bytes(good))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.data())
@settings(max_examples=150)
def test_a_plan_holds_exactly_the_range(lengths: list[int], data: st.DataObject) -> None:
    source = random.Random(len(lengths))
    _body, table = pack([source.randbytes(length) for length in lengths])
    terms, offset = [], 0
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(lengths) - 1))
        end = data.draw(st.integers(start + 1, len(lengths)))
        size = table.unpacked(start, end)
        terms.append(planning.Term("x", start, end, offset, size))
        offset += size
    first = data.draw(st.integers(0, offset - 1))
    last = data.draw(st.integers(first + 1, offset))
    found = planning.plan(terms, {"x": table}, first, last)
    assert found.terms[0].offset + found.skip == first
    assert found.skip < int(table.lengths[found.terms[0].start])
    end = found.terms[-1]
    assert end.offset + end.size >= last > end.offset + end.size - int(table.lengths[end.end - 1])
    for term, following in zip(found.terms, found.terms[1:], strict=False):
        assert term.offset + term.size == following.offset
    assert all(term.size == table.unpacked(term.start, term.end) for term in found.terms)
    joined = planning.ranges(found.terms)["x"]
    assert all(planning.covers(joined, term.start, term.end) for term in found.terms)
    assert {at for s, e in joined for at in range(s, e)} == {a for t in found.terms for a in range(t.start, t.end)}
    for term in found.terms:
        cut = list(planning.pieces(term, table, 300))
        assert (cut[0].start, cut[-1].end) == (term.start, term.end)
        assert sum(piece.size for piece in cut) == term.size
