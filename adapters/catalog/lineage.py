"""Where a repo comes from and what was made from it, as far as somebody may know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from adapters.models import Lineage
from hub.accounts.actor import Actor
from hub.repos.models import Repo

MOST_CHILDREN = 500
MOST_IN_A_COLUMN = 24
MOST_STEPS = 6


@dataclass(frozen=True)
class Relative:
    """A repo made from, or used for, this one. Without a `repo` it is one that the asker may not read."""

    relation: str
    repo: Repo | None
    sha: str
    weight: float | None


@dataclass(frozen=True)
class Node:
    """One box of the graph. `step`: negative for what it was made from, 0 for itself, positive for what came of it.

    Without a `repo` (and without a `title`) it is a repo the asker may not read. Things that are no repos, such as
    evaluations, have a `title` and a `url`.
    """

    id: str
    step: int
    kind: str
    repo: Repo | None = None
    sha: str = ""
    title: str = ""
    note: str = ""
    url: str = ""


@dataclass(frozen=True)
class Edge:
    """`child` was made from `parent`; both are ids of nodes."""

    parent: str
    child: str
    relation: str
    weight: float | None = None


@dataclass
class Graph:
    """Nodes by id, edges, and how many nodes were left out of each step."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    left_out: dict[int, int] = field(default_factory=dict)


Extra = Callable[[Actor, Repo], Iterable[tuple[Node, Edge]]]
_extras: list[Extra] = []


def register_extra(extra: Extra) -> None:
    """Let a higher room add what it knows of the repo in the middle (its evaluations)."""
    _extras.append(extra)


def parents(actor: Actor, repo: Repo, sha: str) -> list[Relative]:
    """What a commit was made from; what is private to others is there without its name."""
    rows = list(Lineage.objects.filter(child=repo, child_sha=sha).order_by("relation", "-weight", "pk"))
    readable = {
        found.pk: found
        for found in Repo.objects.visible_to(actor)
        .filter(pk__in=[row.parent_id for row in rows])
        .select_related("owner")
    }
    return [
        Relative(row.relation, found, row.parent_sha if found else "", row.weight)
        for row in rows
        for found in [readable.get(row.parent_id)]
    ]


def children(actor: Actor, repo: Repo) -> list[Relative]:
    """What was made from a repo at any commit and is the head of a repo that the actor may read."""
    rows = (
        Lineage.objects.filter(parent=repo, child__in=Repo.objects.visible_to(actor))
        .select_related("child__owner")
        .order_by("-child__updated_at", "pk")[:MOST_CHILDREN]
    )
    return [
        Relative(row.relation, row.child, row.child_sha, row.weight) for row in rows if row.child_sha == row.child.head
    ]


def graph(actor: Actor, repo: Repo, sha: str, steps: int = 2) -> Graph:
    """Ancestors and descendants up to `steps` (1 to 6) away. Descendants that may not be read are not there at all.

    Three queries for each step and direction.
    """
    found = Graph()
    middle = Node(_id(repo), 0, repo.kind, repo, sha, note=_note(repo))
    found.nodes[middle.id] = middle
    steps = max(1, min(steps, MOST_STEPS))
    _up(actor, found, [middle], steps)
    _down(actor, found, [middle], steps)
    _settle(found)
    for extra in _extras:
        for node, edge in extra(actor, repo):
            found.nodes[node.id] = node
            found.edges.append(edge)
    return found


def _up(actor: Actor, found: Graph, front: list[Node], steps: int) -> None:
    for step in range(1, steps + 1):
        shas = {(node.repo.pk, node.sha or node.repo.head): node for node in front if node.repo}
        rows = [
            row
            for row in Lineage.objects.filter(child__in={pk for pk, _ in shas}).order_by("relation", "-weight", "pk")
            if (row.child_id, row.child_sha) in shas
        ]
        readable = _readable(actor, (row.parent_id for row in rows))
        front = []
        for row in rows:
            child, parent = shas[row.child_id, row.child_sha], readable.get(row.parent_id)
            # what may not be read has no lasting identity: nobody can tell whether two of them are the same
            name = _id(parent) if parent else f"private-{child.id}-{len(found.edges)}"
            if name not in found.nodes and not _full(found, -step):
                sha = row.parent_sha if parent else ""
                kind = parent.kind if parent else "private"
                found.nodes[name] = Node(name, -step, kind, parent, sha, note=_note(parent))
                front.append(found.nodes[name])
            if name in found.nodes:
                found.edges.append(Edge(name, child.id, row.relation, row.weight))


def _down(actor: Actor, found: Graph, front: list[Node], steps: int) -> None:
    for step in range(1, steps + 1):
        parents_ = {node.repo.pk: node for node in front if node.repo}
        rows = (
            Lineage.objects.filter(parent__in=parents_, child__in=Repo.objects.visible_to(actor))
            .select_related("child__owner")
            .order_by("relation", "-child__updated_at", "pk")[:MOST_CHILDREN]
        )
        middle, front = next(iter(found.nodes.values())), []
        for row in rows:
            if row.child_sha != row.child.head:
                continue
            name = _id(row.child)
            if found.nodes.get(name, middle).step < 0:
                continue  # a relation in a circle: it is among the ancestors already
            if name not in found.nodes and not _full(found, step):
                found.nodes[name] = Node(name, step, row.child.kind, row.child, row.child_sha, note=_note(row.child))
                front.append(found.nodes[name])
            if name in found.nodes:
                found.edges.append(Edge(parents_[row.parent_id].id, name, row.relation, row.weight))


def _settle(found: Graph) -> None:
    """Move each node as far out as its longest way to the middle, so that every edge leads from left to right."""
    for _ in range(MOST_STEPS):
        moved = False
        for edge in found.edges:
            parent, child = found.nodes[edge.parent], found.nodes[edge.child]
            if parent.step < child.step:
                continue
            if child.step <= 0:
                found.nodes[parent.id] = replace(parent, step=child.step - 1)
            else:
                found.nodes[child.id] = replace(child, step=parent.step + 1)
            moved = True
        if not moved:
            return


def _full(found: Graph, step: int) -> bool:
    """Whether a column has no room; counts what is left out."""
    if sum(node.step == step for node in found.nodes.values()) < MOST_IN_A_COLUMN:
        return False
    found.left_out[step] = found.left_out.get(step, 0) + 1
    return True


def _readable(actor: Actor, ids: Iterable[object]) -> dict[object, Repo]:
    rows = Repo.objects.visible_to(actor).filter(pk__in=set(ids)).select_related("owner")
    return {row.pk: row for row in rows}


def _id(repo: Repo) -> str:
    return f"{'tasks/' if repo.is_task else ''}{repo.full_name}"


def _note(repo: Repo | None) -> str:
    if repo is None:
        return ""
    rank = repo.facts.get("rank")
    return " ".join(filter(None, (repo.facts.get("method") or "", f"rank {rank}" if rank else "")))
