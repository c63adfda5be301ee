"""Which repo a base model's name means, and the shapes its tensors have."""

from __future__ import annotations

from adapters.formats.safetensors_header import Header, header_size, join_headers, parse_header
from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.models import Commit, Kind, Repo
from hub.store import reading


def find_base(name: str | None, actor: Actor) -> Repo | None:
    """The base repo called `owner/name`, if the actor may read it. A label, never an address to fetch."""
    if not name or name.count("/") != 1:
        return None
    return Repo.objects.filter(kind=Kind.BASE).with_id(name).select_related("owner").visible_to(actor).first()


def head_of(repo: Repo) -> Commit | None:
    """The commit of the default branch, None before the first."""
    return Commit.objects.filter(repo=repo, sha=repo.head).first() if repo.head else None


def base_header(repo: Repo, commit: Commit) -> Header:
    """The joined headers of a base's safetensors files, two range reads each. Raises FormatError, StoreError."""
    return join_headers(read_headers(repo, commit).values())


def read_headers(repo: Repo, commit: Commit) -> dict[str, Header]:
    """Headers of the safetensors files at the top of a revision, by file name. Raises FormatError, StoreError."""
    headers: dict[str, Header] = {}
    for path, file in trees.list_files(repo, commit).items():
        if file.blob is None or "/" in path or not path.endswith(".safetensors"):
            continue
        size = header_size(reading.read_range(file.blob, 0, 8), file.size)
        headers[path] = parse_header(reading.read_range(file.blob, 8, 8 + size), file.size)
    return headers
