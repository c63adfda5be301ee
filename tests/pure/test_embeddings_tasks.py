"""Texts, questions and Fisher embeddings on a tiny probe, against plain oracles."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.embeddings import fisher, methods, question, task2vec, texts, variational
from adapters.embeddings.declaration import EmbeddingFault, Material, unit
from adapters.runtime.examples import Example
from adapters.runtime.runtime import Runtime
from tests.pure.tiny_models import opinions, write_encoder


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    return Runtime(write_encoder(tmp_path_factory.mktemp("probe")), task="classify", max_length=32)


def test_every_method_declares_itself() -> None:
    found = methods()
    assert {"texts", "tuned", "question", "task2vec", "task_emb", "published", "task2vec_variational"} == set(found)
    for name, method in found.items():
        assert (method.name, method.version >= 1) == (name, True)
        assert method.reference.url.startswith("https://") and 1900 < method.reference.year < 2027
        assert method.question and method.summary and method.needs


@settings(max_examples=30)
@given(st.integers(1, 60), st.lists(st.sampled_from("abc"), min_size=1, max_size=60))
def test_choosing_is_even_and_repeatable(most: int, labels: list[str]) -> None:
    rows = [Example(f"text {n}", label) for n, label in enumerate(labels)]
    chosen = texts.choose(rows, most, 3)
    assert len(chosen) == min(most, len(rows)) and chosen == texts.choose(rows, most, 3)
    counts = [sum(row.label == label for row in chosen) for label in sorted(set(labels))]
    room = [count for count, label in zip(counts, sorted(set(labels)), strict=True) if count < labels.count(label)]
    assert not room or max(counts) - min(room) <= 1


def test_the_centre_of_unit_rows() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(7, 5)))
    assert texts.centroid(rows) == pytest.approx(unit(rows.mean(0)), abs=1e-6)
    assert np.linalg.norm(texts.centroid(np.array([[1.0, 0], [-1, 0]]))) == pytest.approx(1)
    for bad in ([[0.0, 0]], [[np.nan, 1]], [[np.inf, 1]], np.zeros((0, 3))):
        with pytest.raises(EmbeddingFault):
            texts.from_rows(np.asarray(bad))
    with pytest.raises(EmbeddingFault, match="at least 4"):
        texts.embed(Material([Example("a", "x")], lambda rows: np.ones((len(rows), 3))))


def test_the_encoder_is_known_by_its_bytes(tmp_path: Path) -> None:
    one, same, other = (write_encoder(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert texts.encoder_identity(one) == texts.encoder_identity(same) != texts.encoder_identity(other)


def test_the_same_question_in_another_wording(probe: Runtime) -> None:
    def encode(rows: list[str]) -> np.ndarray:
        return probe.features(rows, normalise=True)

    asked = opinions(48)
    renamed = [Example(row.text, {"yes": "positive", "no": "negative"}[row.label]) for row in opinions(48, start=7)]
    shuffled = [Example(row.text, "dog" if "dog" in row.text else "none") for row in opinions(48, start=3)]
    one, same, unrelated = (question.embed(Material(rows, encode)) for rows in (asked, renamed, shuffled))
    assert one.rows is not None and same.rows is not None and unrelated.rows is not None
    assert question.exact(one.rows, same.rows) > 0.8 > question.exact(one.rows, unrelated.rows)
    matrix, other = (rows.astype(float).T @ rows for rows in (one.rows, unrelated.rows))
    dense = float((matrix * other).sum() / np.linalg.norm(matrix) / np.linalg.norm(other))
    assert question.exact(one.rows, unrelated.rows) == pytest.approx(dense, abs=1e-6)
    assert float(one.vector @ unrelated.vector) == pytest.approx(dense, abs=0.09)
    with pytest.raises(EmbeddingFault, match="one label"):
        question.embed(Material([Example(row.text, "same") for row in asked], encode))


def test_filter_fisher_is_the_mean_square_of_per_example_gradients(probe: Runtime) -> None:
    rows = ["the dog runs", "a cat sleeps fast", "good movie"]
    model, _ = probe.model()
    layers = fisher.linear_layers(model.base_model)
    head = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))

    def log_p(texts_: list[str]) -> torch.Tensor:
        batch = dict(probe.tokenizer(texts_, padding=True, return_tensors="pt"))
        hidden = model.base_model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(2).float()
        return torch.log_softmax((hidden * mask).sum(1) / mask.sum(1) @ head.T, dim=1)

    def exact(p: torch.Tensor):
        for column in range(2):
            weight = torch.zeros_like(p)
            weight[:, column] = p.exp()[:, column].sqrt()
            yield weight

    found = fisher.filter_fisher(lambda: log_p(rows), layers, exact)
    for number, row in enumerate(rows):
        expected = []
        values = log_p([row])
        for _name, layer in layers:
            squares = sum(
                values.exp()[0, column].item()
                * torch.autograd.grad(values[0, column], layer.weight, retain_graph=True)[0] ** 2
                for column in range(2)
            )
            expected.append(squares.mean(1))
        assert found[number] == pytest.approx(torch.cat(expected).detach().numpy(), rel=1e-3, abs=1e-9)


def test_task_emb_is_the_gradient_of_the_tuned_model(probe: Runtime, tmp_path: Path) -> None:
    from adapters.embeddings import task_emb
    from merges.training.settings import Settings
    from merges.training.teach import teach

    base = write_encoder(tmp_path / "base")
    quick = Settings(rank=2, epochs=1, batch_size=16, learning_rate=1e-2, max_length=24, patience=0)
    teach(base, opinions(32), quick, tmp_path / "a")
    tuned = Runtime(base, max_length=32)
    tuned.attach("a", tmp_path / "a")
    made = task_emb.embed(Material(opinions(12), probe=tuned, tuned="a"))
    model, call = tuned.differentiable("a")
    name, layer = fisher.linear_layers(model)[3]
    squares = []
    for row in texts.choose(opinions(12), 64):
        layer.weight.requires_grad_(True)
        batch = dict(tuned.tokenizer([row.text], return_tensors="pt"))
        value = torch.log_softmax(call(**batch).logits, 1)[0, ("no", "yes").index(row.label)]
        squares.append(torch.autograd.grad(value, layer.weight)[0].pow(2).mean(1))
        layer.weight.requires_grad_(False)
    start = sum(other.out_features for _, other in fisher.linear_layers(model)[:3])
    expected = torch.stack(squares).mean(0).numpy() / made.details["norm"]
    assert made.vector[start : start + len(expected)] == pytest.approx(expected, rel=1e-2, abs=1e-6), name
    with pytest.raises(EmbeddingFault, match="attached"):
        task_emb.embed(Material(opinions(12), probe=tuned))
    with pytest.raises(EmbeddingFault, match="0 examples"):
        task_emb.embed(Material([Example("x", "maybe")] * 9, probe=tuned, tuned="a"))


def test_the_variational_form_bears_less_noise_where_the_task_is_read(probe: Runtime) -> None:
    one, again = (variational.embed(Material(opinions(32), probe=probe)) for _ in range(2))
    assert np.array_equal(one.vector, again.vector) and one.vector.mean() == pytest.approx(1, abs=1e-4)
    fisher_form = task2vec.embed(Material(opinions(32), probe=probe)).vector
    assert one.vector.shape == fisher_form.shape and (one.vector > 0).all()
    read = np.argsort(fisher_form)
    tenth = len(read) // 10
    assert one.vector[read[-tenth:]].mean() > one.vector[read[:tenth]].mean(), "sensitive filters bear less noise"
    with pytest.raises(EmbeddingFault):
        variational.embed(Material(opinions(5), probe=probe))


def test_task2vec_and_its_distances(probe: Runtime) -> None:
    one = task2vec.embed(Material(opinions(32), probe=probe))
    again = task2vec.embed(Material(opinions(32), probe=probe))
    many = [Example(row.text, f"label {n % 6}") for n, row in enumerate(opinions(32))]
    sampled = task2vec.embed(Material(many, probe=probe))
    assert (one.vector == again.vector).all() and one.details["sum"] == "exact" and "draws" in sampled.details["sum"]
    assert one.vector.mean() == pytest.approx(1, abs=1e-4) and (one.vector >= 0).all()
    assert task2vec.symmetric(one.vector, one.vector) == pytest.approx(0, abs=1e-9)
    apart = task2vec.symmetric(one.vector, sampled.vector)
    assert 0 < apart < 1 and apart == pytest.approx(task2vec.symmetric(sampled.vector, one.vector))
    a, b = one.vector.astype(float), sampled.vector.astype(float)
    u, v = a / (a + b), b / (a + b)
    assert apart == pytest.approx(1 - u @ v / np.linalg.norm(u) / np.linalg.norm(v), abs=1e-6)
    trivial = np.full_like(one.vector, 1e-3)
    assert task2vec.asymmetric(one.vector, sampled.vector, trivial) < apart
    with pytest.raises(EmbeddingFault, match="different probes"):
        task2vec.symmetric(one.vector, one.vector[:-1])
    with pytest.raises(EmbeddingFault, match="at least 8"):
        task2vec.embed(Material(opinions(5), probe=probe))
