"""The headers of safetensors files, read here so that a client needs one request for a sharded model."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpResponse, JsonResponse

from hub.repos import trees
from hub.repos.models import Repo
from hub.repos.trees import File
from hub.wire.asking import WireRequest, commit_at, door, find_repo
from hub.wire.errors import WireError

MOST_HEADER_BYTES, MOST_INDEX_BYTES, MOST_SHARDS = 8 * 1024 * 1024, 16 * 1024 * 1024, 200


@door("GET", limit="resolve")
def safetensors_metadata(request: WireRequest, repokind: str, owner: str, name: str, path: str) -> HttpResponse:
    """`GET /api/models/{R}/safetensors-metadata/{file}`: of one file, or of every shard that an index names."""
    repo = find_repo(request, repokind, owner, name)
    commit = commit_at(repo, "")
    file = trees.get_file(repo, commit, path)
    if path.endswith(".safetensors"):
        body: dict[str, Any] = {"index": {"metadata": None}, "headers": {path.rpartition("/")[2]: header(file)}}
        return JsonResponse(body, headers={"X-Repo-Commit": commit.sha})
    index = _object(file, MOST_INDEX_BYTES)
    folder = path.rpartition("/")[0]
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise WireError(422, f"{path[:200]} is no index of safetensors files: it has no 'weight_map'.")
    names = sorted(set(shards.values()))
    if len(names) > MOST_SHARDS:
        raise WireError(422, f"An index may name {MOST_SHARDS} files at most here.")
    files = _files(repo, commit.tree, {shard: f"{folder}/{shard}".lstrip("/") for shard in names})
    body = {"index": {"metadata": index.get("metadata")}, "headers": {shard: header(files[shard]) for shard in names}}
    return JsonResponse(body, headers={"X-Repo-Commit": commit.sha})


def header(file: File) -> dict[str, Any]:
    """The JSON header of a safetensors file. Raises WireError (422) for what is none, StoreError."""
    start = b"".join(file.stream(0, min(8, file.size)))
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length + 8 > file.size:
        raise WireError(422, f"{file.path[:200]} is no safetensors file.")
    if length > MOST_HEADER_BYTES:
        raise WireError(422, f"The header of {file.path[:200]} is larger than {MOST_HEADER_BYTES:,} bytes.")
    return _parsed(file.path, b"".join(file.stream(8, 8 + length)))


def _files(repo: Repo, tree: str, paths: dict[str, str]) -> dict[str, File]:
    here = trees.flatten(repo, tree)
    missing = [path for path in paths.values() if path not in here]
    if missing:
        raise trees.EntryNotFound(f"The index names {missing[0][:200]}, which is not in {repo.full_name}.")
    files = trees.load_files(repo, {path: here[path] for path in paths.values()})
    return {shard: files[path] for shard, path in paths.items()}


def _object(file: File, most: int) -> dict[str, Any]:
    if file.size > most:
        raise WireError(422, f"{file.path[:200]} is larger than {most:,} bytes.")
    return _parsed(file.path, file.read())


def _parsed(path: str, data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError(422, f"{path[:200]} does not hold valid JSON.") from error
    if not isinstance(found, dict):
        raise WireError(422, f"{path[:200]} does not hold a JSON object.")
    return found
