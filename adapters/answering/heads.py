"""Which of a merge's heads answers an input: merges keep their parents' heads apart, in heads/<owner>--<name>."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from adapters.answering.choosing import Chooser
from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.models import Repo

FOLDER, ENDING = "heads/", ".safetensors"


def head_for(chooser: Chooser, actor: Actor, repo: Repo, sha: str, text: str) -> str:
    """The head of the parent that the router chooses for the text; "" for a repo that keeps no heads."""
    heads = heads_at(repo.pk, sha)
    if len(heads) < 2:
        return heads[0] if heads else ""
    parents = {}
    for head in heads:
        name = head.replace("--", "/", 1)
        parent = Repo.objects.models().with_id(name).visible_to(actor).first() if name.count("/") == 1 else None
        if parent is not None:
            parents[str(parent.pk)] = head
    if parents:
        routed = chooser.route(actor, {"texts": [text], "only": list(parents)})
        if routed.decisions[0].choices:
            return parents[routed.decisions[0].choices[0].name]
    return heads[0]


@lru_cache(maxsize=1024)
def heads_at(repo: Any, sha: str) -> tuple[str, ...]:
    """Names of the heads that a repo keeps at a commit, which never change."""
    found = Repo.objects.get(pk=repo)
    paths = trees.flatten(found, trees.resolve_commit(found, sha).tree)
    return tuple(
        path[len(FOLDER) : -len(ENDING)] for path in paths if path.startswith(FOLDER) and path.endswith(ENDING)
    )
