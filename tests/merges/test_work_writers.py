"""The lab on language models: statistics over labels and next tokens, comparisons with what is kept of the base."""

from __future__ import annotations

import pytest

from adapters.formats.values import TensorFile
from hub.accounts.actor import actor_for
from hub.repos.models import Repo
from merges.work.comparing import ask_for_comparison
from merges.work.measuring import ask_for_statistics
from merges.work.merging import ask_for_merge
from merges.work.subjects import BadRequest
from tests.merges.test_work_lab import INPUTS, ended, files_of
from tests.merges.test_work_merging import recipe
from tests.people import People


def test_statistics_of_language_models_are_published_and_merged_with(
    people: People, writers: dict[str, Repo], tmp_path: object
) -> None:
    alice, bob = actor_for(people.alice), actor_for(people.bob)
    with pytest.raises(BadRequest, match="too many tokens"):
        ask_for_statistics(actor=bob, adapter=INPUTS[0], likelihood="next_token")
    ended(ask_for_statistics(actor=bob, adapter=INPUTS[0], examples=8))
    ended(ask_for_statistics(actor=bob, adapter=INPUTS[1], examples=8, likelihood="next_token", estimator="sampled"))
    for name, likelihood in (("adapter-moods", "label"), ("adapter-tastes", "next_token")):
        blob = files_of(writers[name])["statistics/fisher.safetensors"]
        path = tmp_path / f"{name}.safetensors"  # type: ignore[operator]
        path.write_bytes(blob.read())
        with TensorFile(path) as file:
            assert file.header.metadata["likelihood"] == likelihood
            assert set(file.header.tensors) >= {"model.layers.0.self_attn.q_proj"}
    for method in ("fisher", "regmean"):
        ended(ask_for_merge(actor=alice, raw=recipe(method), target=f"alice/by-{method}").job)


def test_an_adapter_with_a_head_has_no_next_tokens(people: People, lab: dict[str, Repo]) -> None:
    with pytest.raises(BadRequest, match="no next tokens"):
        ask_for_statistics(actor=actor_for(people.bob), adapter=INPUTS[0], likelihood="next_token", estimator="sampled")


def test_language_models_are_compared_with_what_they_keep_of_the_base(people: People, writers: dict[str, Repo]) -> None:
    row = ask_for_comparison(
        actor=actor_for(people.alice), inputs=INPUTS, methods=["task_arithmetic", "ties"], validation=12, test=12
    )
    ended(row.job)
    row.refresh_from_db()
    rows = {entry["name"]: entry for entry in row.report["rows"]}
    assert set(rows) == {"base", "best_single", "mean", "random", "oracle", "ensemble", "task_arithmetic", "ties"}
    assert row.report["neutral_texts"] > 20
    base = rows["base"]["retention"]
    assert (base["perplexity_ratio"], base["kl"]) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-6))
    for name in ("best_single", "mean", "random", "task_arithmetic", "ties"):
        kept = rows[name]["retention"]
        assert kept["perplexity_base"] == pytest.approx(base["perplexity_base"])
        assert kept["kl"] > 0
        assert kept["perplexity_ratio"] == pytest.approx(kept["perplexity"] / kept["perplexity_base"])
    assert "retention" not in rows["oracle"]


def test_the_weight_of_writers_is_tuned_without_heads(people: People, writers: dict[str, Repo]) -> None:
    raw = recipe("task_arithmetic", select={"tasks": ["acme/moods"], "split": "train", "grid": {"lambda": [0.1, 1.0]}})
    merge = ask_for_merge(actor=actor_for(people.alice), raw=raw, target="alice/tuned")
    ended(merge.job)
    merge.refresh_from_db()
    assert len(merge.report["trials"]) == 2
