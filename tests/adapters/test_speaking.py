"""Specialists asked together: one that fails answers for itself only."""

from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file, save_file

from adapters.answering.residents import Resident, Residents
from adapters.answering.speaking import Speaker, Wish
from adapters.runtime.adapter_files import read_adapter
from adapters.runtime.mixed import MixedBatches
from adapters.runtime.runtime import Runtime
from hub.repos.models import Repo
from merges.training.teach import teach
from tests.answering import QUICK, specialist
from tests.people import People
from tests.publishing import publish
from tests.pure.tiny_models import opinions, write_deberta, write_encoder


def test_an_adapter_that_does_not_fit_spoils_nobody_elses_answers(people: People, tmp_path: Path) -> None:
    base = write_encoder(tmp_path / "base")
    publish(people.acme, "tiny", base, by=people.alice)
    mood = specialist(people.alice, "mood", opinions(16), base, tmp_path / "mood", "acme/tiny")
    tensors = load_file(tmp_path / "mood" / "adapter_model.safetensors")
    moved = {name.replace("layer.1.", "layer.9."): value for name, value in tensors.items()}
    assert moved.keys() != tensors.keys()
    save_file(moved, tmp_path / "mood" / "adapter_model.safetensors")
    odd = publish(people.bob, "odd", tmp_path / "mood", private=True)
    speaker = Speaker(Residents())
    wish = Wish(0, "the good dog runs", mood, mood.head)
    before = speaker.run(people.actor("alice"), [wish])
    (told,) = speaker.run(people.actor("bob"), [Wish(0, "the good dog runs", odd, odd.head)])
    assert "does not fit this base" in told["error"]
    both = speaker.run(people.actor("bob"), [Wish(0, "the bad cat", odd, odd.head), replace(wish, row=1)])
    assert "error" in both[0] and both[1] == before[0]
    assert speaker.run(people.actor("alice"), [wish]) == before


def test_who_breaks_a_mixed_batch_is_run_alone(people: People, tmp_path: Path) -> None:
    base = write_deberta(tmp_path / "base")
    queries = replace(QUICK, epochs=1, target_modules=("query_proj",))
    teach(base, opinions(16), queries, tmp_path / "queries")
    teach(base, opinions(16), replace(queries, target_modules=("dense",)), tmp_path / "dense")
    repo = Repo(owner=people.alice, name="specialist")
    runtime = Runtime(base, max_length=32)
    home = Resident(repo, "", runtime, MixedBatches(runtime))
    for name in ("queries", "dense"):
        home.files[name] = read_adapter(tmp_path / name)
        assert home.mixed.add(name, home.files[name])
    texts = ("the good dog runs", "the bad cat sleeps", "the nice bird eats fast")
    wishes = [Wish(row, text, repo, "") for row, text in enumerate(texts)]
    found = Speaker(Residents())._on(home, [(0, "queries"), (1, "dense"), (2, "queries")], wishes, sure=False)
    assert {place for place, told in found if "label" in told} == {0, 1, 2}
    assert "queries" not in home.mixed and "queries" in home.runtime.adapters and "dense" in home.mixed
    told = dict(Speaker(Residents())._on(home, [(0, "queries"), (1, "dense"), (2, "gone")], wishes, sure=True))
    assert "label" in told[0] and "sure" in told[1] and "No adapter named gone" in told[2]["error"]
