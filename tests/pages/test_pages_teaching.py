"""The teach page and a teaching's page: with and without JavaScript, for those who may and those who may not."""

import re
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from hub.repos.models import Repo
from merges.models import Teaching
from tests.markup import markup
from tests.merges.test_work_teaching import FAST, distinct
from tests.merges.test_work_teaching_shown import judged, taught
from tests.people import PASSWORD, People, make_people
from tests.publishing import do_job, do_jobs, publish
from tests.pure.tiny_models import write_encoder


@pytest.fixture
def people(db: None) -> People:
    return make_people()


@pytest.fixture
def base(people: People, tmp_path: Path) -> Repo:
    return publish(people.acme, "tiny", write_encoder(tmp_path / "base"), by=people.alice)


def signed_in(name: str) -> Client:
    made = Client()
    assert made.login(username=name, password=PASSWORD)
    return made


def form(**changes: str) -> dict[str, str]:
    text = "\n".join(f"{row['text']}\t{row['label']}" for row in distinct(30))
    return {"target": "alice/moods", "examples": text} | {k: str(v) for k, v in FAST.items()} | changes


def test_a_check_keeps_nothing_and_loses_nothing(people: People, base: Repo) -> None:
    page = signed_in("alice").post("/teach", form(check="1"))
    assert page.status_code == 200
    words = markup(page)
    assert "examples to learn from" in words
    assert distinct(1)[0]["text"] in words
    assert not Teaching.objects.exists()
    file = SimpleUploadedFile("moods.csv", b"text,label\nA fine day,good\nA grim day,bad \nA dull day,Bad\n")
    page = signed_in("alice").post("/teach", form(check="1", examples="") | {"file": file})
    assert "differ only by case or spaces" in markup(page)
    assert "A grim day" in markup(page)
    assert "Join these labels and check again" in markup(page)
    text = "A fine day\tgood\nA grim day\tbad \nA dull day\tBad\nA dark day\tbad\n"
    page = signed_in("alice").post("/teach", form(check_join="on", examples=text))
    assert "Joined labels" in markup(page)
    assert 'name="join" checked' in markup(page)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("at_most", "sixty", "The number of examples to use is &#x27;sixty&#x27;"), ("seed", "-1", "no whole number"),
        ("test_share", "0.9", "between 0 and 0.5"), ("test_share", "half", "between 0 and 0.5"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_said_and_loses_nothing(
    people: People, base: Repo, field: str, value: str, sentence: str
) -> None:
    for button in ({}, {"check": "1"}):
        page = signed_in("alice").post("/teach", form(**{field: value}) | button)
        assert page.status_code == 422
        assert sentence in markup(page)
        assert distinct(1)[0]["text"] in markup(page)
        assert f'value="{value}"' in markup(page)
    assert not Teaching.objects.exists()


def test_what_forbids_teaching_is_said_once_at_the_head(people: People, base: Repo) -> None:
    page = markup(signed_in("alice").post("/teach", form(base="acme/nowhere")))
    assert len(re.findall(r'<li[^>]*class="[^"]*notice|class="[^"]*notice[^"]*notice-fail', page)) == 1


def test_few_of_many_examples_are_taught(people: People, base: Repo) -> None:
    assert "<b>8 examples to learn from" in markup(signed_in("alice").post("/teach", form(check="1", at_most="8")))
    signed_in("alice").post("/teach", form(at_most="8"))
    row = Teaching.objects.get()
    assert row.examples == 8
    do_jobs()
    page = markup(signed_in("alice").get(row.get_absolute_url()))
    assert (
        "linear-probe on all of the task&#x27;s examples" in page
        or "linear-probe on all of the task's examples" in page
    )


def test_the_page_says_how_much_of_the_quota_is_used(people: People, base: Repo) -> None:
    alice = signed_in("alice")
    assert "0 of your 3 trainings and comparisons at once" in markup(alice.get("/teach"))
    alice.post("/teach", form())
    assert "1 of your 3 trainings and comparisons at once" in markup(alice.get("/teach"))
    assert "0 of your 3 trainings and comparisons at once" in markup(signed_in("bob").get("/teach"))


def test_teaching_page_shows_curve_scores_and_cost(people: People, base: Repo) -> None:
    alice = signed_in("alice")
    answer = alice.post("/teach", form())
    row = Teaching.objects.get()
    assert answer["Location"] == row.get_absolute_url()
    waiting = markup(alice.get(row.get_absolute_url()))
    assert f'hx-get="/teachings/{row.pk}/curve"' in waiting
    assert "Teach again" not in waiting
    assert "HX-Refresh" not in alice.get(f"/teachings/{row.pk}/curve")
    do_job(row.job)
    taught = markup(alice.get(row.get_absolute_url()))
    assert "being judged" in taught
    assert "Teach again" in taught
    do_jobs()
    page = markup(alice.get(row.get_absolute_url()))
    assert "being judged" not in page
    for words in ("<polyline", "This specialist", "Its base, not taught", "Cost", "Use this specialist", "Compare"):
        assert words in page, words
    assert "style=" not in page
    curve = alice.get(f"/teachings/{row.pk}/curve")
    assert (curve.status_code, curve["HX-Refresh"]) == (286, "true")
    assert "hx-get" not in markup(curve)
    assert "<polyline" in markup(alice.get(row.job.get_absolute_url()))
    assert alice.post(f"/teachings/{row.pk}/compare").status_code == 302
    row.refresh_from_db()
    assert f"/teachings/{row.pk}/compared" in markup(alice.get(row.get_absolute_url()))
    assert alice.get(f"/teachings/{row.pk}/compared").status_code == 204
    do_jobs()
    assert alice.get(f"/teachings/{row.pk}/compared")["HX-Refresh"] == "true"
    assert "Linear probe" in markup(alice.get(row.get_absolute_url()))
    specialist = markup(alice.get("/alice/moods"))
    assert "/teach?target=alice/moods" in specialist
    assert f'href="{row.get_absolute_url()}"' in specialist
    assert "/teach?task=alice/moods-examples" in markup(alice.get("/datasets/alice/moods-examples"))


def test_what_is_private_is_absent_for_others(people: People, base: Repo) -> None:
    signed_in("alice").post("/teach", form(private="on"))
    row = Teaching.objects.get()
    assert row.repo.private
    assert row.task.private
    for stranger in (Client(), signed_in("charlie"), signed_in("mary")):
        assert stranger.get(row.get_absolute_url()).status_code == 404
        assert stranger.get(f"/teachings/{row.pk}/curve").status_code == 404
        assert stranger.post(f"/teachings/{row.pk}/compare").status_code == 404
        assert "moods" not in markup(stranger.get("/jobs"))
    assert Client().get("/teach").status_code == 302


def test_a_refusal_names_the_reason_and_keeps_the_text(people: People, base: Repo) -> None:
    page = signed_in("alice").post("/teach", form(target="acme/none-of-mine/x"))
    assert page.status_code == 422
    page = signed_in("charlie").post("/teach", form(target="alice/moods"))
    assert page.status_code == 422
    words = markup(page)
    assert "may not create repos for alice" in words
    assert distinct(1)[0]["text"] in words
    assert re.search(r'aria-describedby="teach-error"', words)


def test_the_teaching_page_costs_the_same_for_a_long_curve(
    people: People, base: Repo, django_assert_max_num_queries
) -> None:
    alice = signed_in("alice")
    alice.post("/teach", form())
    row = Teaching.objects.get()
    Teaching.objects.update(curve=[
        {"step": n, "epoch": n, "loss": 1 / n, "validation_loss": None, "validation_accuracy": None, "fold": 0}
        for n in range(1, 400)
    ])  # fmt: skip
    with django_assert_max_num_queries(30):
        assert alice.get(row.get_absolute_url()).status_code == 200
    with django_assert_max_num_queries(8):
        alice.get(f"/teachings/{row.pk}/curve")


def test_a_score_stands_beside_its_own_metric_and_interval(people: People, base: Repo) -> None:
    row = taught(people)
    judged(
        people, row, 0.611, metric="macro_f1", low=0.402, high=0.777,
        scores={"values": {"accuracy": 0.9}, "intervals": {"accuracy": [0.851, 0.949]}},
    )  # fmt: skip
    page = markup(Client().get(row.get_absolute_url()))
    assert "Macro F1" in page
    assert "0.611" in page
    assert "0.402–0.777" in page
    assert "0.851" not in page
