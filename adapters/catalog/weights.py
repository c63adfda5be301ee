"""Which files of a revision belong together as weights: one group for each folder, a checkpoint or an adapter."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from adapters.catalog import bases, local, manifests
from adapters.diffs import VERSION, Side
from adapters.formats import strict_json
from adapters.formats.errors import FormatError
from adapters.formats.peft_config import parse_config
from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.models import Commit, Repo
from hub.repos.trees import File
from hub.store.models import Blob

CONFIG, INDEX = "adapter_config.json", ".safetensors.index.json"


@dataclass(frozen=True)
class Weights:
    """The safetensors files of one folder of a revision, perhaps none; with `config` they are an adapter."""

    repo: Repo
    commit: Commit
    folder: str
    files: tuple[File, ...]
    config: File | None

    @property
    def blobs(self) -> list[Blob]:
        """The stored files."""
        return [file.blob for file in self.files if file.blob]

    @property
    def fingerprint(self) -> str:
        """Equal for equal bytes and equal configuration, whatever repo they stand in."""
        parts = [VERSION, sorted(blob.sha256 for blob in self.blobs), self.config.sha if self.config else ""]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def place(self) -> dict[str, str]:
        """What a job needs to find it again."""
        return {"repo": str(self.repo.pk), "sha": self.commit.sha, "folder": self.folder}

    @property
    def base_name(self) -> str:
        """The base an adapter says it was made for; a label."""
        try:
            return (parse_config(self.config.read()).base_model or "") if self.config else ""
        except FormatError:
            return ""


def weights(repo: Repo, commit: Commit) -> dict[str, Weights]:
    """Folder → its weights ("" is the top). With an index only the files it names count."""
    files = trees.list_files(repo, commit)
    folders: dict[str, list[File]] = {}
    for path, file in files.items():
        if path.endswith(local.WEIGHTS) and file.blob:
            folders.setdefault(path.rpartition("/")[0], []).append(file)
    return {
        folder: Weights(
            repo, commit, folder, tuple(_indexed(files, folder, found)), files.get(in_folder(folder, CONFIG))
        )
        for folder, found in sorted(folders.items())
    }


def find(place: dict[str, str]) -> Weights | None:
    """The weights a job was told of, None if their revision is not there any more."""
    repo = Repo.objects.select_related("owner").filter(pk=place["repo"]).first()
    commit = Commit.objects.filter(repo=repo, sha=place["sha"]).first() if repo else None
    return at(repo, commit, place["folder"]) if repo and commit else None


def at(repo: Repo, commit: Commit, folder: str) -> Weights:
    """The weights in one folder; without files where it holds none."""
    return weights(repo, commit).get(folder) or Weights(repo, commit, folder, (), None)


def base_of(adapter: Weights, actor: Actor) -> Weights | None:
    """The weights of the base an adapter names, at its head, if the actor may read it."""
    repo = bases.find_base(adapter.base_name, actor)
    head = bases.head_of(repo) if repo else None
    return weights(repo, head).get("") if repo and head else None


def opened(found: Weights, base: Weights | None = None) -> Side:
    """The side of a comparison: local copies of the files. Raises FormatError, WrongBytes, StoreError."""
    known = manifests.keys(blob.sha256 for blob in found.blobs)
    paths: list[Path] = []
    keys: dict[tuple[Path, str], str] = {}
    for blob in found.blobs:
        path = local.cached(blob)
        paths.append(path)
        keys |= {(path, name): key for name, key in known.get(blob.sha256, {}).items()}
    config = parse_config(found.config.read()) if found.config else None
    return Side(paths, config, opened(base) if base else None, keys)


def in_folder(folder: str, name: str) -> str:
    """The path of a file in a folder; "" is the top."""
    return f"{folder}/{name}" if folder else name


def _indexed(files: dict[str, File], folder: str, found: list[File]) -> list[File]:
    index = next((f for path, f in files.items() if path.rpartition("/")[0] == folder and path.endswith(INDEX)), None)
    if index is None or index.blob is not None:
        return found
    try:
        parsed = strict_json.loads(index.data, what="The index", max_bytes=8 << 20)
    except FormatError:
        return found
    named = parsed.get("weight_map") if isinstance(parsed, dict) else None
    wanted = {str(value) for value in named.values()} if isinstance(named, dict) else set()
    return [file for file in found if file.path.rpartition("/")[2] in wanted] or found


def joined(*fingerprints: str) -> str:
    """One fingerprint of several things in order."""
    return hashlib.sha256("".join(fingerprints).encode()).hexdigest()
