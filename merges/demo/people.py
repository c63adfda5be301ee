"""The demo's accounts: two contributors, a maintainer, and the organisation that owns bases and tasks."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from hub.accounts.models import Account, Role
from hub.accounts.registration import register_organisation, register_person
from hub.accounts.tokens import create_token

ORGANISATION = "commons"
ROLES = {"ada": Role.CONTRIBUTOR, "grace": Role.CONTRIBUTOR, "emmy": Role.MAINTAINER}


@dataclass(frozen=True)
class DemoPeople:
    """Passwords to print, and tokens to publish with, by name."""

    passwords: dict[str, str]
    tokens: dict[str, str]


def ensure_people(state: Path) -> DemoPeople:
    """The demo's accounts, made once; their passwords are kept in the state folder, readable by its owner only."""
    kept = state / "demo.json"
    passwords = json.loads(kept.read_text()) if kept.exists() else {name: _password() for name in ROLES}
    tokens = {}
    for name, role in ROLES.items():
        account = Account.objects.filter(name=name).first()
        if account is None:
            account, tokens[name] = register_person(name=name, password=passwords[name], role=role)
        else:
            account.tokens.filter(label="demo").delete()
            _row, tokens[name] = create_token(account=account, label="demo")
    if not Account.objects.filter(name=ORGANISATION).exists():
        register_organisation(name=ORGANISATION, members=["ada", "grace"])
    kept.touch(mode=0o600)
    kept.write_text(json.dumps(passwords))
    return DemoPeople(passwords, tokens)


def retire_tokens() -> None:
    """The tokens were for publishing only; nothing keeps them."""
    for name in ROLES:
        Account.objects.named(name).tokens.filter(label__in=("demo", "create_account")).delete()


def _password() -> str:
    return "-".join(secrets.token_hex(2) for _ in range(3))
