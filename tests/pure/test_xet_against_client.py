"""The official client as oracle: it writes xorbs and shards to a folder, and we read them; hashes and cuts agree."""

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest

from hub.xet import cutting, hashes, shards, xorbs
from hub.xet.hashes import to_text

hf_xet = pytest.importorskip("hf_xet")


def contents() -> dict[str, bytes]:
    numbers = np.random.default_rng(3)
    noise = random.Random(5).randbytes(700_000)
    return {
        "random": noise,
        "zeros": bytes(400_000),
        "float32": numbers.normal(size=150_000).astype("<f4").tobytes(),
        "bf16": (numbers.normal(size=200_000).astype("<f4").view("<u4") >> 16).astype("<u2").tobytes(),
        "text": b"".join(b"line %d of a text that goes on and on\n" % (n * n) for n in range(15_000)),
        "ten": b"0123456789",
        "repeated": noise[:300_000] * 3,
    }


def test_what_the_client_writes_is_what_we_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "cache"))
    made = contents()
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    session = hf_xet.XetSession()
    with session.new_upload_commit(endpoint=f"local://{tmp_path}/store") as commit:
        handles = {name: commit.start_upload_file(str(tmp_path / name)) for name in made}
    told = {name: handle.result().xet_info for name, handle in handles.items()}

    bodies: dict[bytes, tuple[bytes, xorbs.Table]] = {}
    for path in (tmp_path / "store").rglob("default.*"):
        if path.is_file() and len(path.name) == len("default.") + 64:
            with path.open("rb") as body:
                table = xorbs.verify(body.read)
            assert to_text(table.xorb_hash) == path.name.removeprefix("default.")
            bodies[table.xorb_hash] = path.read_bytes(), table
    found = [
        shards.parse(path.read_bytes()) for path in (tmp_path / "store").rglob("*.mdb") if "cache" not in path.parts
    ]
    files = {file.sha256: file for shard in found for file in shard.files}
    for name, data in made.items():
        file = files[hashlib.sha256(data).hexdigest()]
        pieces, raw, lengths = [], [], []
        for term in file.terms:
            body, table = bodies[term.xorb]
            assert term.proof == hashes.range_hash(table.raw_hashes(term.start, term.end))
            assert term.size == table.unpacked(term.start, term.end)
            first, last = table.body_range(term.start, term.end)
            pieces += xorbs.unpack(body[first:last], table, term.start, term.end)
            raw += [table.hash_at(at) for at in range(term.start, term.end)]
            lengths += table.lengths[term.start : term.end].tolist()
        assert b"".join(pieces) == data, name
        assert to_text(hashes.file_hash(raw, lengths)) == told[name].hash == to_text(file.hash)
        assert [len(chunk) for chunk in cutting.cut([data])] == lengths, name
