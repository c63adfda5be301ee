"""Pictures in comments: the client sends them, pages show them, and only readers of a comment see what it shows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hub.repos import lifecycle
from hub.repos.models import Repo
from hub.review import attachments, change_requests, conversation
from hub.review.models import Attachment
from hub.store.collect import unreferenced
from tests.people import People, make_people, make_repo, put
from tests.wire.test_wire_client import publish
from tests.wire.test_wire_routes import PNG, as_

Api = Callable[[str | None], HfApi]


@pytest.fixture
def people(db: None) -> People:
    return make_people()


@pytest.fixture
def repo(people: People) -> Repo:
    made = make_repo(people.acme, "x", by=people.alice, private=True)
    put(people.alice, made, {"a.txt": b"1"})
    return made


def send(client: Client, data: bytes = PNG) -> Any:
    return client.post("/uploads", data, content_type="image/png")


def path_of(answer: Any) -> str:
    return str(answer.content.decode().removeprefix("http://testserver"))


def seen(address: str, *clients: Client) -> list[bool]:
    answers = [client.get(address) for client in clients]
    assert {answer.status_code for answer in answers} <= {302, 404}
    return [answer.status_code == 302 for answer in answers]


def test_who_reads_a_comment_sees_its_pictures(people: People, repo: Repo, settings: Any) -> None:
    settings.PUBLIC_URL = "http://testserver"
    alice, bob, charlie = (as_(getattr(people, name)) for name in ("alice", "bob", "charlie"))
    address = path_of(send(alice))
    assert seen(address, alice, bob, charlie, Client()) == [True, False, False, False]
    actor = people.actor("alice")
    row = change_requests.open_change_request(actor=actor, repo=repo, title="Look", description=f"![it]({address})")
    assert seen(address, alice, bob, charlie, Client()) == [True, True, False, False]
    page = bob.get(f"{row.get_absolute_url()}").content.decode()
    assert f'src="{address}"' in page
    # a stranger who has the address cannot open it to others by naming it
    theirs = make_repo(people.charlie, "theirs")
    put(people.charlie, theirs, {"a.txt": b"1"})
    change_requests.open_change_request(
        actor=people.actor("charlie"), repo=theirs, title="Mine", description=f"http://testserver{address}"
    )
    assert seen(address, charlie, Client()) == [False, False]
    # what is hidden or written anew shows nothing any more
    comment = row.comments.get()
    conversation.edit(actor=actor, comment=comment, text="Nothing to see.")
    assert seen(address, bob) == [False]
    conversation.edit(actor=actor, comment=comment, text=f"![it](http://testserver{address})")
    assert f'src="{address}"' in bob.get(f"{row.get_absolute_url()}").content.decode()
    conversation.hide(actor=actor, comment=comment)
    assert seen(address, bob, alice) == [False, True]


def test_what_is_no_picture_is_refused_and_what_nobody_shows_goes(people: People, repo: Repo) -> None:
    alice = as_(people.alice)
    assert send(Client()).status_code == 401
    assert send(as_(people.alice, scope="read")).status_code == 403
    for wrong in (b"", b"GIF", b"<svg></svg>", b"\x89PNG but not so", PNG + bytes(attachments.MOST_BYTES)):
        answer = send(alice, wrong)
        assert (answer.status_code, "10 MiB" in answer.json()["error"]) == (422, True), wrong[:20]
    for data in (PNG, b"GIF89a...", b"\xff\xd8\xff\xe0", b"RIFF\x00\x00\x00\x00WEBPVP8 "):
        assert send(alice, data).status_code == 200
    shown = Attachment.objects.order_by("pk")[0]
    change_requests.open_change_request(
        actor=people.actor("alice"), repo=repo, title="Look", description=shown.get_absolute_url()
    )
    assert attachments.forget() == 0
    Attachment.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert attachments.forget() == 3
    assert Attachment.objects.get() == shown
    assert not unreferenced().filter(pk=shown.blob_id).exists()
    lifecycle.delete_repo(actor=people.actor("alice"), repo=repo)
    assert attachments.forget() == 1
    assert unreferenced().filter(pk=shown.blob_id).exists()


def test_a_day_has_its_limit(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "MOST_A_DAY", 2)
    alice = as_(people.alice)
    assert [send(alice).status_code for _ in range(3)] == [200, 200, 409]
    assert send(as_(people.bob)).status_code == 200


def test_a_comment_of_the_page_brings_pictures(people: People, repo: Repo) -> None:
    row = change_requests.open_change_request(actor=people.actor("alice"), repo=repo, title="Look")
    browser = Client()
    browser.force_login(people.bob)
    files = [SimpleUploadedFile("a [b](c).png", PNG), SimpleUploadedFile("two.png", PNG)]
    act = f"{row.get_absolute_url()}/act"
    browser.post(act, {"action": "comment", "text": "See:", "pictures": files})
    comment = row.comments.get()
    assert comment.attachments.count() == 2
    assert comment.text.startswith("See:\n\n![a b c .png](/uploads/")
    browser.post(act, {"action": "comment", "text": "Bad", "pictures": [SimpleUploadedFile("x.png", b"no")]})
    assert row.comments.count() == 1


@pytest.mark.slow
def test_the_client_sends_a_picture(api: Api, tmp_path: Path) -> None:
    alice, repo = api("alice"), "wire-alice/pictured"
    publish(alice, repo, private=True)
    (tmp_path / "shot.png").write_bytes(PNG)
    (tmp_path / "film.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42")
    address = alice.upload_attachment(tmp_path / "shot.png")
    talk = alice.create_discussion(repo, "Look", description=f"![shot]({address})")
    assert address in talk.events[0].content
    with pytest.raises(HfHubHTTPError, match="PNG, JPEG, GIF or WebP"):
        alice.upload_attachment(tmp_path / "film.mp4")
    with pytest.raises(HfHubHTTPError, match="401"):
        api(None).upload_attachment(tmp_path / "shot.png")
