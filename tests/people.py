"""The people every test knows: Alice owns, Bob is on her team, Charlie must see nothing, Mary maintains."""

from dataclasses import dataclass

from hub.accounts.actor import NOBODY, Actor, actor_for
from hub.accounts.models import Account, MemberRole, Membership, Role, create_person
from hub.accounts.registration import register_organisation
from hub.repos.changes import Inline, Put
from hub.repos.commits import commit
from hub.repos.lifecycle import create_repo
from hub.repos.models import Commit, Kind, Repo

PASSWORD = "correct horse battery"


@dataclass
class People:
    """Accounts by name; `actor("alice")` acts as her."""

    alice: Account
    bob: Account
    charlie: Account
    mary: Account
    acme: Account

    def actor(self, name: str | None) -> Actor:
        return actor_for(getattr(self, name)) if name else NOBODY


def make_people() -> People:
    """Alice and Bob belong to the organisation acme (Alice administers, Bob writes)."""
    people = {
        name: create_person(name=name, email=f"{name}@example.org", password=PASSWORD)
        for name in ("alice", "bob", "charlie")
    }
    mary = create_person(name="mary", email="mary@example.org", password=PASSWORD, role=Role.MAINTAINER)
    acme = register_organisation(name="acme", members=["alice", "bob"])
    assert Membership.objects.get(organisation=acme, member=people["bob"]).role == MemberRole.WRITE
    return People(**people, mary=mary, acme=acme)


def make_repo(
    owner: Account, name: str, *, by: Account | None = None, kind: str = Kind.ADAPTER, private: bool = False
) -> Repo:
    """An empty repo."""
    return create_repo(actor=actor_for(by or owner), owner=owner, name=name, kind=kind, private=private)


def put(
    by: Account, repo: Repo, files: dict[str, bytes], *,
    branch: str = "main", parent: str | None = None, message: str = "",
) -> Commit:  # fmt: skip
    """Commit files as somebody."""
    return commit(
        actor=actor_for(by),
        repo=repo,
        changes_=[Put(path, Inline(data)) for path, data in files.items()],
        message=message or "Add " + ", ".join(files),
        branch=branch,
        parent=parent,
    )
