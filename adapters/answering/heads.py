"""Which of a merge's heads answers an input: merges keep their parents' heads apart, in heads/<owner>--<name>."""

from __future__ import annotations

from adapters.answering.choosing import Chooser
from hub.accounts.actor import Actor
from hub.repos import trees
from hub.repos.models import Repo

FOLDER, ENDING = "heads/", ".safetensors"


def head_for(chooser: Chooser, actor: Actor, repo: Repo, sha: str, text: str) -> str:
    """The head of the parent that the router chooses for the text; "" for a repo that keeps no heads."""
    paths = trees.flatten(repo, trees.resolve_commit(repo, sha).tree)
    heads = [path[len(FOLDER) : -len(ENDING)] for path in paths if path.startswith(FOLDER) and path.endswith(ENDING)]
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
