"""What this room adds to a lineage graph: evaluations of the repo in the middle."""

from __future__ import annotations

from collections.abc import Iterator

from adapters.catalog.lineage import Edge, Node
from hub.accounts.actor import Actor
from hub.repos.models import Repo
from merges.models import Evaluation

MOST = 8


def evaluations(actor: Actor, repo: Repo) -> Iterator[tuple[Node, Edge]]:
    """Its best evaluations that the actor may see; a task's are those made on it."""
    rows = Evaluation.objects.visible_to(actor).exclude(score=None).select_related("task__owner", "subject__owner")
    rows = rows.filter(task=repo) if repo.is_task else rows.filter(subject=repo)
    middle = f"{'tasks/' if repo.is_task else ''}{repo.full_name}"
    for row in rows.order_by("-score", "pk")[:MOST]:
        other = row.subject if repo.is_task else row.task
        name = f"evaluation-{row.pk}"
        title = f"{row.score:.3f} {'by' if repo.is_task else 'on'} {other.name}"
        yield (
            Node(name, 1, "evaluation", title=title, note=f"evaluation, n {row.n}", url=f"/evaluations/{row.pk}"),
            Edge(middle, name, "evaluation"),
        )
