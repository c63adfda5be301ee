"""Packs against git itself: what git packs we read, what we write git indexes, and nothing makes us crash or swell."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.wire import packfile
from hub.wire.packfile import BadPack, Reader, apply_delta, object_id


def nothing(_sha: str) -> None:
    return None


def read(data: bytes) -> dict[str, tuple[str, bytes]]:
    return Reader(io.BytesIO(data), nothing).read()


def git(folder: Path, *words: str, data: bytes = b"") -> bytes:
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        variables |= {f"GIT_{who}_NAME": "A", f"GIT_{who}_EMAIL": "a@b.c"}
    return subprocess.run(
        ["git", "-C", str(folder), *words], env=variables, input=data, capture_output=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small repo whose pack has deltas of deltas."""
    folder = tmp_path_factory.mktemp("history")
    git(folder, "init", "-q")
    lines = [f"line {number} of a text that changes a little each time\n" for number in range(400)]
    for change in range(6):
        lines[change * 50] = f"changed {change}\n"
        (folder / "a.txt").write_text("".join(lines))
        (folder / f"b{change}.txt").write_text("b" * change)
        git(folder, "add", ".")
        git(folder, "commit", "-qm", f"c{change}")
    return folder


@pytest.mark.parametrize("options", [(), ("--delta-base-offset",)])
def test_what_git_packs_is_read(history: Path, options: tuple[str, ...]) -> None:
    shas = git(history, "rev-list", "--objects", "--all").decode().split("\n")
    ids = "\n".join(line.split(" ")[0] for line in shas if line).encode() + b"\n"
    pack = git(history, "pack-objects", "--stdout", "-q", "--window=50", *options, data=ids)
    found = read(pack)
    assert set(found) == set(ids.decode().split())
    for sha, (kind, data) in found.items():
        assert data == git(history, "cat-file", kind, sha)


def test_what_we_write_git_takes(history: Path, tmp_path: Path) -> None:
    objects = [("blob", b"x" * 100_000), ("blob", b""), ("tree", b""), ("blob", os.urandom(300))]
    pack = b"".join(packfile.write(len(objects), objects))
    git(tmp_path, "init", "-q")
    git(tmp_path, "unpack-objects", "-q", data=pack)
    for kind, data in objects:
        assert git(tmp_path, "cat-file", kind, object_id(kind, data)) == data
    assert read(pack) == {object_id(kind, data): (kind, data) for kind, data in objects}


@given(st.binary(max_size=300), st.integers(0, 60))
def test_damaged_packs_are_refused(noise: bytes, cut: int) -> None:
    pack = b"".join(packfile.write(2, [("blob", b"hello" * 20), ("blob", b"world")]))
    for data in (noise, pack[:cut] + noise, pack[:cut], pack[:12] + noise, b"PACK\0\0\0\2\0\0\0\1" + noise):
        if data != pack:
            with pytest.raises(BadPack):
                read(data)


@given(st.binary(max_size=50), st.binary(max_size=100))
def test_any_delta_ends(base: bytes, delta: bytes) -> None:
    with contextlib.suppress(BadPack):
        assert len(apply_delta(base, delta)) <= packfile.MAX_OBJECT_BYTES


def test_bombs_do_not_go_off() -> None:
    def pack(head: bytes, body: bytes) -> bytes:
        return b"PACK\0\0\0\2\0\0\0\1" + head + zlib.compress(body, 9) + b"\0" * 20

    says_little = pack(bytes([0x30 | 5]), b"\0" * 50_000_000)
    with pytest.raises(BadPack, match="not as long"):
        read(says_little)
    says_much = pack(packfile._entry_head(3, 1 << 40), b"")
    with pytest.raises(BadPack, match="git lfs track"):
        read(says_much)
    grows = b"\x05" + b"\xff\xff\xff\x7f" + b"\x91\x00\x05" * 1000
    with pytest.raises(BadPack):
        apply_delta(b"12345", grows)
    with pytest.raises(BadPack, match="50,000"):
        read(b"PACK\0\0\0\2\xff\xff\xff\xff")
    lost = b"PACK\0\0\0\2\0\0\0\1" + packfile._entry_head(7, 3) + b"\1" * 20 + zlib.compress(b"\0\0\0")
    with pytest.raises(BadPack, match="base is missing"):
        read(lost + hashlib.sha1(lost).digest())


def test_packet_lines_end_where_they_say() -> None:
    assert list(packfile.packets(io.BytesIO(b"0008ab\n\n0000000bwant x\n").read))[-1] == b"want x"
    for data in (b"zzzz", b"0010ab", b"00"):
        with pytest.raises(BadPack):
            list(packfile.packets(io.BytesIO(data).read))
    packed = b"".join(packfile.sideband([b"x" * 200_000], 1))
    assert max(int(packed[:4], 16), 0) <= 65_520


def delta_entry(base: str, delta: bytes) -> bytes:
    return packfile._entry_head(packfile.REF_DELTA, len(delta)) + bytes.fromhex(base) + zlib.compress(delta)


def packed(entries: list[bytes]) -> io.BytesIO:
    body = b"PACK" + struct.pack(">II", 2, len(entries)) + b"".join(entries)
    return io.BytesIO(body + hashlib.sha1(body, usedforsecurity=False).digest())


@pytest.mark.parametrize("outside", [False, True])
def test_a_chain_of_deltas_asks_for_each_base_once(outside: bool) -> None:
    """The last of the chain comes first, so that no delta has its base when it is read."""
    texts = [b"text %4d" % number for number in range(200)]
    ids = [object_id("blob", text) for text in texts]
    chain = [delta_entry(old, b"\x09\x09\x09" + new) for old, new in zip(ids, texts[1:], strict=False)]
    first = packfile._entry_head(packfile.KINDS["blob"], len(texts[0])) + zlib.compress(texts[0])
    asked: list[str] = []

    def known(sha: str) -> tuple[str, bytes] | None:
        asked.append(sha)
        return ("blob", texts[0]) if outside and sha == ids[0] else None

    found = Reader(packed([*reversed(chain), *([] if outside else [first])]), known).read()
    assert [found[sha] for sha in ids[1:]] == [("blob", text) for text in texts[1:]]
    assert len(asked) == len(set(asked)) <= len(chain)
    if not outside:
        assert not asked


def test_deltas_count_as_what_they_unpack_to() -> None:
    large = delta_entry("1" * 40, b"\0" * packfile.MAX_OBJECT_BYTES)
    many = [large] * (packfile.MAX_TOTAL_BYTES // packfile.MAX_OBJECT_BYTES + 1)
    with pytest.raises(BadPack, match="push fewer commits"):
        Reader(packed(many), nothing).read()
