"""Canned replies are kept by maintainers, on a page and over REST, and go into decisions."""

import pytest
from django.test import Client

from hub.review import decisions, replies
from hub.review.models import CannedReply
from hub.review.refusals import NotPossible
from hub.rights import Denied
from tests.hub.test_review_queue import head, propose
from tests.markup import markup
from tests.people import PASSWORD, People
from tests.world import client

ASKED = {"group": "Cards", "title": "Words", "text": "More *words*, please."}


def test_written_changed_and_deleted(people: People) -> None:
    mary = people.actor("mary")
    reply = replies.save(actor=mary, asked=ASKED)
    assert [row.title for row in replies.groups()["Cards"]] == ["Words"]
    for who in ("alice", "charlie"):
        with pytest.raises(Denied):
            replies.save(actor=people.actor(who), asked=ASKED | {"title": "Mine"})
        with pytest.raises(Denied):
            replies.delete(actor=people.actor(who), key=reply.pk)
    for wrong in ({"title": ""}, {"title": "Words"}, {"text": "x" * 5001}, {"group": " "}):
        with pytest.raises(NotPossible):
            replies.save(actor=mary, asked=ASKED | wrong)
    changed = replies.save(actor=mary, asked={"text": "Fewer words."}, key=reply.pk)
    assert (changed.pk, changed.title, changed.text, changed.changed_by) == (
        reply.pk, "Words", "Fewer words.", people.mary
    )  # fmt: skip
    assert replies.text_of(str(reply.pk)) == "Fewer words." and replies.text_of("²") == replies.text_of("x") == ""
    replies.delete(actor=mary, key=reply.pk)
    with pytest.raises(NotPossible):
        replies.delete(actor=mary, key=reply.pk)


def test_on_its_page_and_in_a_decision(people: People) -> None:
    browser = Client()
    assert browser.login(username="mary", password=PASSWORD)
    assert browser.post("/review/replies", ASKED | {"action": "save"}).status_code == 302
    reply = CannedReply.objects.get(group="Cards")
    page = markup(browser.get("/review/replies"))
    assert "Write a reply" in page and "<em>words</em>" in page
    refused = browser.post("/review/replies", ASKED | {"action": "save"})
    assert refused.status_code == 422 and "already" in markup(refused)
    request = propose(people)
    shown = markup(browser.get(request.get_absolute_url()))
    assert f'<option value="{reply.pk}" data-text="More *words*, please."' in shown
    act = f"{request.get_absolute_url()}/act"
    browser.post(act, {"action": "request_changes", "sha": head(request), "canned": str(reply.pk), "text": ""})
    assert decisions.Decision.objects.get().reason == ASKED["text"]
    stranger = markup(Client().get("/review/replies"))
    assert "Words" in stranger and "Write a reply" not in stranger
    assert browser.post("/review/replies", {"action": "delete", "reply": str(reply.pk)}).status_code == 302


def test_over_rest(people: People) -> None:
    mary, path = client(people.mary), "/api/v1/queue/replies"
    made = mary.post(path, ASKED, format="json")
    assert made.status_code == 201 and made.json()["changed_by"] == "mary"
    one = f"{path}/{made.json()['id']}"
    assert mary.put(one, ASKED | {"title": "Other"}, format="json").json()["title"] == "Other"
    assert "Other" in {row["title"] for row in client().get(path).json()}
    assert client(people.charlie).delete(one).status_code == 403
    assert mary.delete(one).status_code == 204
    assert mary.delete(one).status_code in (409, 422)
