"""An encoder-decoder base and its adapter through the hub: inspected, checked against the base, judged."""

from pathlib import Path

from hub.accounts.actor import actor_for
from hub.repos.models import Kind
from hub.review.models import Check
from merges.work.evaluating import ask_for_evaluation
from tests.merges.conftest import write_task
from tests.people import People
from tests.publishing import do_jobs, publish
from tests.pure.test_runtime_seq2seq import write_adapter
from tests.pure.tiny_models import write_seq2seq


def test_a_t5_and_its_adapter(people: People, tmp_path: Path) -> None:
    base = write_seq2seq(tmp_path / "t5")
    publish(people.acme, "tiny-t5", base, by=people.alice, kind=Kind.BASE)
    publish(people.acme, "moods", write_task(tmp_path / "moods"), by=people.alice, kind=Kind.TASK)
    folder = write_adapter(base, tmp_path / "adapter")
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace(str(base), "acme/tiny-t5"))
    (folder / "README.md").write_text("---\nbase_model: acme/tiny-t5\nlicense: mit\ndatasets: [acme/moods]\n---\n")
    adapter = publish(people.bob, "t5-moods", folder)
    checks = dict(Check.objects.filter(repo=adapter).values_list("name", "verdict"))
    assert checks["fits_base"] == "pass" and adapter.facts["base"] == "acme/tiny-t5"
    asked = {"subject": "bob/t5-moods", "task": "acme/moods"}
    rows = [
        ask_for_evaluation(actor=actor_for(people.bob), **asked, settings=settings)  # type: ignore[arg-type]
        for settings in ({}, {"generate": True, "shots": 1})
    ]
    do_jobs()
    for row, protocol in zip(rows, ("label-likelihood", "generation"), strict=True):
        row.refresh_from_db()
        assert (row.protocol, row.n) == (protocol, 24), row.job and row.job.error
        assert row.items is not None and row.score is not None
