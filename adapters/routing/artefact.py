"""A router as one small file: example vectors, names and calibration, usable without the hub.

safetensors with `vectors` (float16, rows of all specialists one after the other), `starts` (where each one's rows
begin, and the end) and `usual` (mean and deviation of its own examples' scores); the metadata key `router` holds JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from adapters.routing.declaration import RoutingFault
from adapters.routing.profiles import NEIGHBOURS, Library, Profile, usual_scores

FORMAT = 1


def pack(entries: Sequence[tuple[dict[str, Any], Any]], encoder: str) -> bytes:
    """One file from pairs (what is told of a specialist, `name` at least; its unit rows). Raises RoutingFault."""
    if not entries:
        raise RoutingFault("There is no specialist with example vectors to export.")
    rows = [np.asarray(vectors, np.float16) for _, vectors in entries]
    told = {"format": FORMAT, "method": "best_five", "neighbours": NEIGHBOURS, "encoder": encoder,
            "specialists": [dict(about) for about, _ in entries]}  # fmt: skip
    tensors = {
        "vectors": np.concatenate(rows),
        "starts": np.cumsum([0, *(len(part) for part in rows)]).astype(np.int64),
        "usual": np.stack([usual_scores(np.asarray(part, np.float32)) for part in rows]),
    }
    return bytes(save(tensors, metadata={"router": json.dumps(told, ensure_ascii=False)}))


def unpack(data: bytes) -> tuple[Library, dict[str, Any]]:
    """The library and the told JSON of a packed router. Raises RoutingFault for a file that is none."""
    try:
        size = int.from_bytes(data[:8], "little")
        told = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["router"])
        tensors = load(data)
        vectors, starts = tensors["vectors"].astype(np.float32), tensors["starts"].tolist()
        names = [str(about["name"]) for about in told["specialists"]]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RoutingFault("This file is no exported router. Export it again from a hub.") from error
    if told.get("format") != FORMAT or len(starts) != len(names) + 1 or starts[-1] != len(vectors):
        raise RoutingFault("This router was exported in another format. Export it again.")
    made = Library(vectors.shape[1])
    for place, name in enumerate(names):
        labels = tuple(told["specialists"][place].get("labels") or ())
        made.add(Profile(name, vectors[starts[place] : starts[place + 1]], labels))
    return made, told
