"""Webhooks: who is told of what, where they may go, what arrives, and how they end."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from hub.jobs.models import Job, State
from hub.jobs.working import run_job
from hub.repos import lifecycle
from hub.review import change_requests
from hub.webhooks import addresses, delivering, keeping
from hub.webhooks.models import Webhook
from tests.markup import markup
from tests.people import PASSWORD, People, make_people, make_repo, put
from tests.wire.test_wire_routes import as_

ADDRESS = "/api/settings/webhooks"


@dataclass
class Receiver:
    url: str = ""
    status: int = 200
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def people(db: None) -> People:
    return make_people()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    """A program on this machine that takes what is sent; private addresses are allowed for its sake."""
    settings.WEBHOOK_PRIVATE_ADDRESSES = True
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.seen.append((dict(self.headers), body))
            self.send_response(state.status)
            if state.status == 302:
                self.send_header("Location", state.url + "/elsewhere")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_words: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/hook?x=1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


def deliveries() -> list[Job]:
    return list(Job.objects.filter(kind="webhooks.deliver").order_by("created_at"))


def watch(people: People, name: str, url: str, *watched: str, **more: Any) -> Webhook:
    items = [dict(zip(("type", "name"), item.split(":"), strict=True)) for item in watched]
    return keeping.create(actor=people.actor(name), url=url, watched=items, **more)


def test_what_happens_arrives_signed(people: People, receiver: Receiver) -> None:
    from huggingface_hub._webhooks_payload import WebhookPayload

    webhook = watch(people, "alice", receiver.url, "org:acme", "model:alice/x", secret="s3cret")
    repo = make_repo(people.acme, "m", by=people.alice)
    sha = put(people.bob, repo, {"a.txt": b"1"}).sha
    request = change_requests.open_change_request(
        actor=people.actor("charlie"), repo=repo, title="T", description="Because"
    )
    change_requests.comment(actor=people.actor("bob"), request=request, text="Hm")
    make_repo(people.alice, "unwatched")
    for job in deliveries():
        run_job(str(job.pk))
    assert {job.state for job in deliveries()} == {State.SUCCEEDED}
    bodies = [WebhookPayload(**json.loads(body)) for _headers, body in receiver.seen]
    assert [(body.event.action, body.event.scope) for body in bodies] == [
        ("create", "repo"), ("update", "repo.content"), ("create", "discussion"), ("create", "discussion.comment"),
    ]  # fmt: skip
    assert bodies[1].updatedRefs[0].newSha == sha and bodies[1].repo.head_sha == sha
    assert (bodies[3].discussion.num, bodies[3].comment.content, bodies[3].webhook.id) == (1, "Hm", webhook.key)
    headers, body = receiver.seen[-1]
    assert headers["X-Webhook-Signature"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers["X-Webhook-Secret"] == "s3cret"


def test_nobody_is_told_of_what_they_may_not_read(people: People, receiver: Receiver) -> None:
    watch(people, "charlie", receiver.url, "user:alice", "org:acme", "model:alice/secret")
    watch(people, "bob", receiver.url, "org:acme")
    secret, ours = (
        make_repo(people.alice, "secret", private=True),
        make_repo(people.acme, "o", by=people.alice, private=True),
    )
    put(people.alice, secret, {"a.txt": b"1"})
    assert [job.owner for job in deliveries()] == [people.bob]
    people.bob.memberships.all().delete()
    for job in deliveries():
        run_job(str(job.pk))
    assert receiver.seen == []  # rights are asked again when it is sent
    lifecycle.set_private(actor=people.actor("alice"), repo=ours, private=False)
    assert [job.owner for job in deliveries()][1:] == [people.charlie, people.bob]


def test_failures_are_tried_again_and_end(people: People, receiver: Receiver) -> None:
    webhook = watch(people, "alice", receiver.url, "user:alice")
    receiver.status = 503
    make_repo(people.alice, "x")
    (job,) = deliveries()
    for _attempt in range(3):
        run_job(str(job.pk))
    job.refresh_from_db()
    webhook.refresh_from_db()
    assert (job.state, webhook.failures, len(receiver.seen)) == (State.FAILED, 1, 3)
    receiver.status = 302
    Webhook.objects.filter(pk=webhook.pk).update(failures=19)
    make_repo(people.alice, "y")
    for _attempt in range(3):
        run_job(str(deliveries()[-1].pk))
    webhook.refresh_from_db()
    assert (webhook.disabled, webhook.last_error) == (True, "The address answered 302.")
    make_repo(people.alice, "z")
    assert len(deliveries()) == 2
    keeping.update(actor=people.actor("alice"), row=webhook, disabled=False)
    assert Webhook.objects.get(pk=webhook.pk).failures == 0


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 10.1.2.3 192.168.0.1 169.254.169.254 172.16.0.1 0.0.0.0 100.64.0.1 224.0.0.1 255.255.255.255 ::1 fe80::1 "
    "fc00::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 2002:7f00:1:: ff02::1 64:ff9b::7f00:1".split(),
)
def test_private_addresses_are_never_called(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not addresses.is_public(address)
    with pytest.raises(ValidationError):
        addresses.check_literal(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = [(socket.AF_INET, 1, 6, "", ("93.184.216.34", 80)), (family, 1, 6, "", (address, 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: both)
    monkeypatch.setattr(socket, "create_connection", lambda *_a, **_k: pytest.fail("a connection was made"))
    with pytest.raises(addresses.Unreachable, match="not a public"):
        addresses.post("http://innocent.example.org/", b"", {})


def test_the_address_that_was_looked_at_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def connect(address: tuple[str, int], **_more: Any) -> socket.socket:
        asked.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [(socket.AF_INET, 1, 6, "", ("93.184.216.34", 80))])
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(addresses.Unreachable, match="does not answer"):
        addresses.post("https://example.org/x", b"", {})
    assert asked == ["93.184.216.34"]


def test_the_client_s_routes_and_bad_input(people: People) -> None:
    alice, bob = as_(people.alice), as_(people.bob)

    def send(client: Client, address: str, **body: Any) -> Any:
        return client.post(address, json.dumps(body), content_type="application/json")

    watched = [{"type": "model", "name": "Alice/X"}]
    made = send(alice, ADDRESS, url="https://example.org/hook", watched=watched, domains=["repo"], secret="x").json()[
        "webhook"
    ]
    assert (made["watched"], made["disabled"]) == ([{"type": "model", "name": "alice/x"}], False)
    assert alice.get(ADDRESS).json() == [made] and bob.get(ADDRESS).json() == []
    one = f"{ADDRESS}/{made['id']}"
    assert send(alice, one, domains=["discussion"]).json()["webhook"]["domains"] == ["discussion"]
    assert send(alice, f"{one}/disable").json()["webhook"]["disabled"] is True
    assert send(alice, f"{one}/enable").json()["webhook"]["disabled"] is False
    assert send(alice, f"{one}/explode").status_code == 404
    for call in (
        bob.get(one),
        send(bob, one, url="https://x.example.org"),
        bob.delete(one),
        send(bob, f"{one}/disable"),
    ):
        assert call.status_code == 404
    assert Client().get(ADDRESS).status_code == 401
    assert send(as_(people.alice, scope="read"), ADDRESS, url="https://example.org", watched=watched).status_code == 403
    assert as_(people.alice, repos=("alice/x",)).get(ADDRESS).status_code == 403
    for bad in (
        {"url": "ftp://example.org"}, {"url": "http://localhost:8000/"}, {"url": "http://127.0.0.1/"}, {"url": "http://[::1]/"},
        {"url": "https://a:b@example.org/"}, {"url": "x" * 2000}, {"watched": []}, {"watched": "x"}, {"watched": [1]},
        {"watched": [{"type": "space", "name": "a/b"}]}, {"watched": watched * 51}, {"domains": ["moon"]}, {"secret": "\u00e9"},
    ):  # fmt: skip
        answer = send(alice, ADDRESS, **({"url": "https://example.org", "watched": watched} | bad))
        assert (answer.status_code, bool(answer.json()["error"])) == (422, True), bad
    assert send(alice, ADDRESS, jobSourceId="x", watched=watched).status_code == 501
    assert alice.delete(one).status_code == 200
    for _number in range(20):
        send(alice, ADDRESS, url="https://example.org", watched=watched)
    assert "20 webhooks" in send(alice, ADDRESS, url="https://example.org", watched=watched).json()["error"]


def test_a_test_waits_its_turn_and_says_why_it_waits(
    people: People, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(people.alice, make_repo(people.alice, "open"), {"README.md": b"# Words"})
    hook, receiver.status = watch(people, "alice", receiver.url, "user:alice"), 500
    job = delivering.send_test(actor=people.actor("alice"), row=hook)
    run_job(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.error) == (State.QUEUED, "The address answered 500.")
    monkeypatch.setattr("hub.webhooks.watching.MOST_WAITING", 1)
    with pytest.raises(ValidationError, match="Too many deliveries"):
        delivering.send_test(actor=people.actor("alice"), row=hook)


def browser_of(name: str) -> Client:
    made = Client()
    assert made.login(username=name, password=PASSWORD)
    return made


def test_kept_on_their_page(people: People, receiver: Receiver) -> None:
    put(people.alice, make_repo(people.alice, "open"), {"README.md": b"# Words"})
    put(people.alice, make_repo(people.alice, "closed", private=True), {"README.md": b"# Words"})
    browser, page = browser_of("charlie"), "/settings/webhooks"
    refused = browser.post(page, {"url": receiver.url, "watched": "nobody-here", "domains": "repo"})
    assert (refused.status_code, Webhook.objects.count()) == (422, 0)
    assert "Nobody here is called &#x27;nobody-here&#x27;" in markup(refused)
    for odd in ("http://[x", "\x00", "no\x00body"):
        assert browser.post(page, {"url": receiver.url, "watched": odd, "domains": "repo"}).status_code == 422
    asked = {"url": receiver.url, "watched": "alice http://here/alice/closed", "domains": "repo", "secret": "s3cret"}
    assert browser.post(page, asked).status_code == 302
    row = Webhook.objects.get()
    assert (row.watched, row.domains) == (["model:alice/closed", "user:alice"], ["repo"])
    browser.post(page, {"webhook": row.key, "action": "test"})
    (job,) = deliveries()
    run_job(str(job.pk))
    ((headers, body),) = receiver.seen  # of what Charlie may read only
    assert json.loads(body)["repo"]["name"] == "alice/open"
    assert headers["X-Webhook-Signature"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    shown = markup(browser.get(page))
    assert "update repo.content" in shown and "200" in shown and "s3cret" not in shown
    changed = {"webhook": row.key, "action": "save", "url": receiver.url, "watched": "alice", "domains": "discussion"}
    browser.post(page, changed)
    row.refresh_from_db()
    assert (row.watched, row.domains, row.secret) == (["user:alice"], ["discussion"], "s3cret")
    browser.post(page, {**changed, "forget": "on", "watched": "nobody-here"})
    browser.post(page, {"webhook": row.key, "action": "off"})
    row.refresh_from_db()
    assert (row.watched, row.secret, row.disabled) == (["user:alice"], "s3cret", True)
    browser.post(page, {"webhook": row.key, "action": "test"})
    assert Job.objects.filter(kind="webhooks.deliver").count() == 1
    stranger = browser_of("bob")
    assert receiver.url not in markup(stranger.get(page))
    assert stranger.post(page, {"webhook": row.key, "action": "delete"}).status_code == 404
    browser.post(page, {"webhook": row.key, "action": "delete"})
    assert not Webhook.objects.exists()


@pytest.mark.parametrize(
    ("scheme", "beginning"),
    [
        ("http", b"HTTP/1.1 200 OK\r\nX-Slow: "),
        ("http", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4000\r\n\r\n"),
        ("https", b"\x16\x03\x03\x40\x00"),  # a long handshake message
    ],
)
def test_who_answers_byte_by_byte_is_not_waited_for(
    scheme: str, beginning: bytes, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBHOOK_PRIVATE_ADDRESSES = True
    monkeypatch.setattr(addresses, "SECONDS", 0.5)
    ended = threading.Event()

    def drip(server: socket.socket) -> None:
        """A byte now and then, for as long as somebody reads and this test runs."""
        taken, _ = server.accept()
        with taken:
            with contextlib.suppress(OSError):
                taken.sendall(beginning)
                while not ended.wait(0.05):
                    taken.sendall(b"a")

    with socket.create_server(("127.0.0.1", 0)) as server:
        most = threading.Timer(20, ended.set)
        most.daemon = True
        most.start()
        thread = threading.Thread(target=drip, args=(server,), daemon=True)
        thread.start()
        with pytest.raises(addresses.Unreachable, match=r"127.0.0.1 did not answer within 0.5 seconds."):
            addresses.post(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/", b"{}", {})
        thread.join(10)  # it cannot send any more
        most.cancel()
        assert not thread.is_alive() and not ended.is_set()
