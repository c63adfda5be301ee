"""The chunk store as tests speak with it: a token, a route, an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpResponse
from django.test import Client

from hub.accounts.models import Account, Token
from hub.accounts.tokens import create_token
from hub.repos.changes import Put, Stored
from hub.repos.commits import commit
from hub.repos.models import Repo
from tests.xet_files import Sent


@dataclass
class Cas:
    """The chunk store for one account and repo."""

    base: str
    token: str

    def post(self, route: str, body: bytes, **headers: str) -> HttpResponse:
        return Client().post(
            f"{self.base}{route}", body, content_type="application/octet-stream",
            headers={"Authorization": f"Bearer {self.token}"} | headers,
        )  # fmt: skip

    def get(self, route: str, **headers: str) -> HttpResponse:
        return Client().get(f"{self.base}{route}", headers={"Authorization": f"Bearer {self.token}"} | headers)

    def send(self, sent: Sent, shard: bytes | None = None) -> HttpResponse:
        """A xorb and then a shard, as clients do."""
        answer = self.post(f"/v1/xorbs/default/{sent.xorb}", sent.body)
        assert answer.status_code == 200, answer.content
        return self.post("/v1/shards", shard or sent.shard_bytes())


Ask = Callable[..., Cas]


def asking() -> Ask:
    """`ask(account, repo)` → the chunk store with a fresh token for it."""

    def of(account: Account | None, repo: Repo, *, kind: str = "write", key: Token | None = None) -> Cas:
        headers = {}
        if account is not None:
            _row, text = create_token(account=account, label="xet")
            headers = {"Authorization": f"Bearer {text}"}
        answer = Client().get(f"/api/models/{repo.full_name}/xet-{kind}-token/main", headers=headers)
        assert answer.status_code == 200, answer.content
        said = answer.json()
        assert answer["X-Xet-Cas-Url"] == said["casUrl"]
        return Cas(urlsplit(said["casUrl"]).path, said["accessToken"])

    return of


def put_stored(account: Account, repo: Repo, sha256: str, path: str = "tokenizer.model") -> None:
    from hub.accounts.actor import actor_for
    from hub.repos.uploading import usable

    blob = usable(actor_for(account), repo, sha256)
    assert blob is not None
    commit(actor=actor_for(account), repo=repo, changes_=[Put(path, Stored(blob))], message="Add")


def read(answer: Any) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


def chunk(
    data: bytes, *, scheme: int = 0, version: int = 0, packed: int | None = None, length: int | None = None
) -> bytes:
    sizes = (len(data) if packed is None else packed), (len(data) if length is None else length)
    return bytes([version]) + sizes[0].to_bytes(3, "little") + bytes([scheme]) + sizes[1].to_bytes(3, "little") + data
