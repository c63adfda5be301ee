"""The demo's System: three specialists accepted by the maintainer, one more waiting; and a suite of its tasks."""

from __future__ import annotations

from collections.abc import Sequence

from hub.accounts.actor import actor_for
from hub.accounts.models import Account
from hub.repos import trees
from hub.repos.models import Kind, Repo
from hub.review import decisions
from merges.demo.people import ORGANISATION
from merges.models import Suite
from merges.systems import releases
from merges.systems.manifest import parse
from merges.work import suites

NAME, SUITE = "cloud-desk", "cloud-desk-tasks"
ACCEPTED = ("cloud-service", "message-language", "docstring-library")
"""Tasks whose inputs look different enough for a router."""
WAITING = "cloud-action"
"""Its inputs look like those of cloud-service: the checks of its proposal say what would fall."""


def fill(base: str, accepted: Sequence[str], waiting: Sequence[str]) -> None:
    """Make what is not there yet; the releases are evaluated by the worker."""
    ada, emmy = (actor_for(Account.objects.named(name)) for name in ("ada", "emmy"))
    system = Repo.objects.filter(kind=Kind.SYSTEM).with_id(f"{ORGANISATION}/{NAME}").select_related("owner").first()
    if system is None:
        owner = Account.objects.named(ORGANISATION)
        system = releases.create_system(
            actor=ada, owner=owner, name=NAME, base=base, description="Reads short texts of a cloud provider."
        )
        for adapter in accepted:
            request = releases.propose_member(actor=ada, system=system, adapter=adapter)
            sha = trees.resolve_commit(system, request.ref).sha
            decisions.decide(actor=emmy, request=request, verdict="approve", sha=sha, reason="Good on its task.")
            system.refresh_from_db()
        for adapter in waiting:
            releases.propose_member(actor=ada, system=system, adapter=adapter, text="It knows one thing more.")
    if not Suite.objects.filter(name=SUITE).exists():
        manifest = parse(trees.get_file(system, trees.resolve_commit(system), "system.json").read())
        parts = [suites.Part(one.task.repo, one.task.sha) for one in manifest.members]
        suite = suites.publish_suite(actor=ada, name=SUITE, title="Cloud desk", parts=parts)
        assert suite.version == 1
