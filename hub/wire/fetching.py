"""Which objects a fetch needs: everything the wanted commits reach and the client does not have already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hub.repos.gitformat import parse_tree
from hub.repos.models import Commit, GitObject, Repo

CHUNK = 500


@dataclass
class Graph:
    """The commits of a repo and their parents: all that negotiation needs."""

    parents: dict[str, list[str]]
    trees: dict[str, str]

    @classmethod
    def of(cls, repo: Repo) -> Graph:
        """One query."""
        rows = list(Commit.objects.filter(repo=repo).values_list("sha", "parents", "tree"))
        return cls({sha: list(parents) for sha, parents, _tree in rows}, {sha: tree for sha, _parents, tree in rows})

    def reach(self, tips: Iterable[str], stop: Iterable[str] = (), edge: Iterable[str] = ()) -> set[str]:
        """Commits reachable from the tips, not going into `stop`, and not beyond `edge` (whose parents are unknown)."""
        seen, stopped, edges = set[str](), set(stop), set(edge)
        todo = [tip for tip in tips if tip in self.parents and tip not in stopped]
        while todo:
            sha = todo.pop()
            if sha in seen:
                continue
            seen.add(sha)
            if sha not in edges:
                todo += [
                    one for one in self.parents[sha] if one not in seen and one not in stopped and one in self.parents
                ]
        return seen

    def depths(self, tips: Iterable[str], depth: int) -> tuple[set[str], set[str]]:
        """(commits within `depth` of the tips, those of them whose parents are cut off)."""
        level, seen, cut = set(tips), set[str](), set[str]()
        for number in range(1, depth + 1):
            if not level:
                break
            seen |= level
            following = {one for sha in level for one in self.parents[sha] if one in self.parents}
            if number == depth:
                cut = {sha for sha in level if self.parents[sha]}
            level = following - seen
        return seen, cut


@dataclass
class Ask:
    """What a client said it wants and has."""

    wants: list[str] = field(default_factory=list)
    haves: list[str] = field(default_factory=list)
    shallow: set[str] = field(default_factory=set)
    depth: int = 0
    capabilities: set[str] = field(default_factory=set)
    done: bool = False
    rounds: int = 0


def boundary(graph: Graph, ask: Ask) -> tuple[set[str], set[str]]:
    """(commits that become shallow at the client, shallow ones that get their parents now)."""
    if not ask.depth:
        return set(), set()
    seen, cut = graph.depths(ask.wants, ask.depth)
    return cut - ask.shallow, (ask.shallow & seen) - cut


def needed(repo: Repo, graph: Graph, ask: Ask) -> list[str]:
    """Ids of the objects to send: commits, then trees and blobs."""
    common = [sha for sha in ask.haves if sha in graph.parents]
    theirs = graph.reach(common, edge=ask.shallow)
    commits = graph.depths(ask.wants, ask.depth)[0] - theirs if ask.depth else graph.reach(ask.wants, stop=theirs)
    known = {graph.trees[sha] for sha in theirs}
    trees, blobs = _below(repo, {graph.trees[sha] for sha in commits} - known)
    if known and (trees or blobs):
        edges = {parent for sha in commits for parent in graph.parents[sha] if parent in theirs} or set(common)
        had_trees, had_blobs = _below(repo, {graph.trees[sha] for sha in edges})
        trees, blobs = trees - had_trees, blobs - had_blobs
    return [*sorted(commits), *sorted(trees), *sorted(blobs)]


def _below(repo: Repo, roots: set[str]) -> tuple[set[str], set[str]]:
    """(trees, blobs) reachable from these trees: one query for each level and chunk."""
    trees, blobs, level = set[str](), set[str](), set(roots)
    while level:
        trees |= level
        deeper: set[str] = set()
        for _sha, _kind, data in rows(repo, sorted(level)):
            for entry in parse_tree(data).values():
                (deeper if entry.is_folder else blobs).add(entry.sha)
        level = deeper - trees
    return trees, blobs


def rows(repo: Repo, shas: list[str]) -> Iterator[tuple[str, str, bytes]]:
    """(id, kind, body) of objects, a chunk at a time."""
    for start in range(0, len(shas), CHUNK):
        found = GitObject.objects.filter(repo=repo, sha__in=shas[start : start + CHUNK])
        for sha, kind, data in found.values_list("sha", "kind", "data"):
            yield sha, kind, bytes(data)
