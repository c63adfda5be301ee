"""Pages of changes, tensors and lineage: what they show, to whom, and in how many queries."""

from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from adapters.models import Lineage
from hub.jobs.models import Job, State
from hub.repos import trees
from hub.repos.models import Repo
from tests.make_adapters import base_tensors, lora_tensors, write_adapter, write_base
from tests.markup import markup
from tests.people import PASSWORD, People, put
from tests.publishing import do_jobs, publish, push

MODULE = "bert.encoder.layer.0.attention.self.query"


@pytest.fixture
def pair(people: People, tmp_path: Path) -> tuple[Repo, Repo]:
    """Bob's adapter with two commits, and the base it belongs to."""
    base = publish(people.acme, "tiny-bert", write_base(tmp_path / "base"), by=people.alice)
    repo = publish(people.bob, "sentiment", write_adapter(tmp_path / "one"))
    tensors = lora_tensors()
    tensors[f"base_model.model.{MODULE}.lora_B.weight"] *= 1.5
    push(people.bob, repo, write_adapter(tmp_path / "two", tensors=tensors))
    repo.refresh_from_db()
    return base, repo


def browser(name: str | None = None) -> Client:
    made = Client()
    if name:
        assert made.login(username=name, password=PASSWORD)
    return made


def page(address: str, name: str | None = None, status: int = 200) -> str:
    answer = browser(name).get(address)
    assert answer.status_code == status, (address, answer.status_code)
    return markup(answer)


def compare_address(repo: Repo) -> str:
    head = trees.resolve_commit(repo)
    return f"{repo.get_absolute_url()}/compare/{head.parents[0]}..{head.sha}"


def test_two_revisions(pair: tuple[Repo, Repo]) -> None:
    shown = page(compare_address(pair[1]))
    assert "Changed 1 of 6 updates and tensors" in shown.replace("\xa0", " ")
    assert 'class="heat-map"' in shown
    assert "layer 0, attention.self.query: changed by 50.0 %" in shown
    assert "state-unchanged" in shown
    assert shown.count("<tr data-row") == 1 and "changes only" in shown
    whole = page(compare_address(pair[1]) + "?status=all")
    assert whole.count("<tr data-row") == 6 and "changes only" not in whole
    narrowed = page(compare_address(pair[1]) + "?layer=0&module=attention.self.value")
    assert narrowed.count("<tr data-row") == 1
    assert page(compare_address(pair[1]) + "?status=changed&sort=name&find=query").count("<tr data-row") == 1
    detail = page(compare_address(pair[1]) + f"?tensor={MODULE}")
    assert "The whole update was multiplied by 1.5." in detail
    assert "Singular values of the change" in detail
    assert detail.count('class="plot"') == 3
    for odd in ("?page=99", "?tensor=nothing", "?sort=odd", "?status=x&kind=y", "?layer=<b>&module=<script>x"):
        assert "<script>x" not in page(compare_address(pair[1]) + odd)
    text = browser(None).get(compare_address(pair[1]).replace("/bob/", "/api/models/bob/")).content.decode()
    assert "# Changed 1 of 6 updates and tensors" in text
    assert f"#   changed       50.0 %  scale     {MODULE}" in text
    page(f"{pair[1].get_absolute_url()}/compare/main", status=404)
    page(f"{pair[1].get_absolute_url()}/compare/main..nowhere", status=404)


def test_a_page_from_the_cache_costs_few_queries(pair: tuple[Repo, Repo]) -> None:
    address = compare_address(pair[1])
    page(address)
    with CaptureQueriesContext(connection) as queries:
        page(address)
    assert len(queries) <= 26, [query["sql"][:90] for query in queries]


def test_pages_lead_here(pair: tuple[Repo, Repo]) -> None:
    url = pair[1].get_absolute_url()
    head = trees.resolve_commit(pair[1])
    assert f"{url}/commit/{head.sha}" in page(f"{url}/commits/main")
    shown = page(url)
    assert f'href="{url}/lineage"' in shown
    assert f"/compare?left=acme/tiny-bert&right=bob/sentiment@{pair[1].head}" in shown.replace("&amp;", "&")
    assert f"{url}/tensors/main" in page(f"{url}/blob/main/adapter_model.safetensors")


def test_an_adapter_and_its_base_whichever_way(pair: tuple[Repo, Repo]) -> None:
    address = "/compare?left=bob/sentiment&right=acme/tiny-bert"
    assert "Nobody has compared these weights yet" in page(address)
    assert not Job.objects.filter(kind="adapters.compare", state=State.QUEUED).exists()
    assert "being compared" in page(address, "charlie")
    do_jobs()
    shown = page(address)
    assert "What the adapter does to its base; the base is put first" in shown
    assert "low-rank updates to query and value in layers 0 to 1" in shown
    assert 'placeholder="owner/name@revision"' in page("/compare")


def test_a_stopped_comparison_can_be_made_again(pair: tuple[Repo, Repo]) -> None:
    address = "/compare?left=acme/tiny-bert&right=bob/sentiment"
    page(address, "charlie")
    Job.objects.filter(kind="adapters.compare", state=State.QUEUED).update(state=State.CANCELLED)
    assert "The comparison was stopped" in page(address, "charlie")
    sides = {"left": "acme/tiny-bert", "right": "bob/sentiment"}
    assert browser().post("/compare/again", sides)["Location"].startswith("/accounts/login/")
    browser("charlie").post("/compare/again", sides)
    do_jobs()
    assert "low-rank" in page(address)


def test_private_sides_are_not_there(pair: tuple[Repo, Repo], people: People, tmp_path: Path) -> None:
    hidden = publish(
        people.alice, "undisclosed", write_adapter(tmp_path / "h", tensors=lora_tensors(seed=5)), private=True
    )
    for sides in ("left=alice/undisclosed&right=bob/sentiment", "left=bob/sentiment&right=alice/undisclosed"):
        for who in (None, "bob", "charlie"):
            page(f"/compare?{sides}", who, 404)
            assert (
                browser("bob").post("/compare/again", dict(part.split("=") for part in sides.split("&"))).status_code
                == 404
            )
        page(f"/compare?{sides}", "alice")
    jobs = Job.objects.filter(kind="adapters.compare", state=State.QUEUED)
    assert set(jobs.values_list("repo", flat=True)) == {hidden.pk}
    assert not Job.objects.visible_to(people.actor("bob")).filter(pk__in=jobs).exists()


def test_tensors_with_history_and_blame(pair: tuple[Repo, Repo], people: People, tmp_path: Path) -> None:
    base, repo = pair
    put(people.bob, repo, {"notes.txt": b"x"})
    first = trees.log(repo, trees.resolve_commit(repo))[-1]
    url = repo.get_absolute_url()
    shown = page(f"{url}/tensors/main")
    assert shown.count("<tr data-row") == 10
    assert shown.count(f">{first.short}<") == 9
    name = f"base_model.model.{MODULE}.lora_B.weight"
    detail = page(f"{url}/tensors/main?tensor={name}")
    history = detail[detail.index("tensor-history") : detail.index("</ol>")]
    assert history.count("<li>") == 2
    assert "50.0%" in history
    assert "effect 50.0%" in history
    assert "made" in history
    publish(people.bob, "copy", write_adapter(tmp_path / "copy"))
    publish(people.alice, "secret-copy", write_adapter(tmp_path / "secret"), private=True)
    twin = "base_model.model.classifier.weight"
    assert "bob/copy" in page(f"{url}/tensors/main?tensor={twin}", "charlie")
    assert "secret-copy" not in page(f"{url}/tensors/main?tensor={twin}", "charlie")
    assert "secret-copy" in page(f"{url}/tensors/main?tensor={twin}", "alice")
    assert page(f"{base.get_absolute_url()}/tensors/main").count("<tr data-row") == len(base_tensors())
    page(f"{url}/tensors/nowhere", status=404)


def test_a_factor_may_change_while_its_effect_does_not(pair: tuple[Repo, Repo], people: People, tmp_path: Path) -> None:
    tensors = lora_tensors()
    tensors[f"base_model.model.{MODULE}.lora_B.weight"] *= 3  # 1.5 before, so twice as large
    tensors[f"base_model.model.{MODULE}.lora_A.weight"] /= 2
    push(people.bob, pair[1], write_adapter(tmp_path / "three", tensors=tensors))
    do_jobs()
    detail = page(f"{pair[1].get_absolute_url()}/tensors/main?tensor=base_model.model.{MODULE}.lora_B.weight")
    history = detail[detail.index("tensor-history") : detail.index("</ol>")]
    assert history.count("<li>") == 3
    assert "same effect" in history


def test_weights_that_only_one_side_has_are_listed(pair: tuple[Repo, Repo], people: People, tmp_path: Path) -> None:
    _base, repo = pair
    folder = write_adapter(tmp_path / "more")
    put(people.bob, repo, {f"second/{file.name}": file.read_bytes() for file in folder.iterdir()})
    page(compare_address(repo), "bob")
    do_jobs()
    shown = page(compare_address(repo), "bob")
    assert "Weights that only one side has" in shown
    assert "All 6 updates and tensors are new" in shown.replace("\xa0", " ")
    head = trees.resolve_commit(repo)
    turned = f"{repo.get_absolute_url()}/compare/{head.sha}..{head.parents[0]}"
    page(turned, "bob")
    do_jobs()
    assert "were removed" in page(turned, "bob")


def test_lineage_both_ways(pair: tuple[Repo, Repo], people: People, tmp_path: Path) -> None:
    base, repo = pair
    hidden = publish(
        people.alice, "undisclosed", write_adapter(tmp_path / "h", tensors=lora_tensors(seed=5)), private=True
    )
    Lineage.objects.create(child=repo, child_sha=repo.head, parent=hidden, parent_sha=hidden.head, relation="merge")
    shown = page(f"{repo.get_absolute_url()}/lineage")
    assert "A private repo" in shown
    assert "undisclosed" not in shown
    assert 'href="/acme/tiny-bert"' in shown
    assert 'href="/alice/undisclosed"' in page(f"{repo.get_absolute_url()}/lineage", "alice")
    below = page(f"{base.get_absolute_url()}/lineage?steps=9")
    assert 'href="/bob/sentiment"' in below
    assert "alice/undisclosed" not in below
    page(f"{base.get_absolute_url()}/lineage?steps=%F0%9F%98%80")
