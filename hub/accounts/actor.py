"""Who is asking: an account (or nobody), and what the token in hand allows it."""

from __future__ import annotations

from dataclasses import dataclass

from hub.accounts.models import Account, Scope, Token


@dataclass(frozen=True)
class Actor:
    """The one thing rights are asked for. `Actor()` is nobody; a browser session has no token."""

    account: Account | None = None
    token: Token | None = None
    bad_credentials: bool = False
    """A token was sent but is unknown, expired or revoked: doors that need a person answer 401 with that reason."""

    @property
    def is_known(self) -> bool:
        return self.account is not None

    @property
    def may_write(self) -> bool:
        """False with a read token: then the actor changes nothing anywhere."""
        return self.account is not None and (self.token is None or self.token.scope == Scope.WRITE)

    @property
    def is_maintainer(self) -> bool:
        return self.account is not None and self.account.is_maintainer

    @property
    def is_limited(self) -> bool:
        """A token for some repos only: it has no business with accounts, nor with what holds for every repo."""
        return self.token is not None and self.token.is_limited

    def reaches(self, repo_id: str) -> bool:
        """False if the token in hand is limited to other repos than `owner/name`."""
        return self.token is None or not self.token.repos or repo_id.lower() in self.token.repos


NOBODY = Actor()


def actor_for(account: Account) -> Actor:
    """The actor for work done in an account's name outside a request (jobs, commands)."""
    return Actor(account=account)
