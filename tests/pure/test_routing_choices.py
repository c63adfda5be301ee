"""Routers against plain oracles: who is chosen, how sure, why, and what must never shape the choice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from adapters.embeddings.declaration import unit
from adapters.embeddings.updates import Update
from adapters.routing import DEFAULT, Hint, Library, Profile, Query, RoutingFault, routers
from adapters.routing.artefact import pack, unpack
from adapters.routing.deciding import decide, fit
from adapters.routing.profiles import top_mean, usual_scores
from adapters.routing.surest import close, energies, sureness, surest
from adapters.routing.surface import surfaces
from adapters.routing.weights_only import answers, maps

WIDTH = 16
ROUTERS = routers()
PLAIN = "best_five"


def cloud(seed: int, count: int = 20, spread: float = 0.6) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return unit(unit(chance.normal(size=WIDTH)) + spread * chance.normal(size=(count, WIDTH)) / WIDTH**0.5)


def library(count: int = 4, **more) -> Library:
    return Library(WIDTH, [Profile(f"s{n}", cloud(n), **more) for n in range(count)])


def best(shelf: Library, router: str, vectors: np.ndarray, **more) -> list[str]:
    return [decision.choices[0].name for decision in decide(shelf, ROUTERS[router], Query(vectors, **more))]


def test_routers_declare_themselves() -> None:
    assert {"best_five", "sharpened", "centroid", "trained", "hinted", "weights_only"} == set(ROUTERS)
    assert DEFAULT in ROUTERS
    for router in ROUTERS.values():
        assert router.summary and router.reference.url.startswith("https://") and router.needs
        assert set(router.filled({})) == {parameter.name for parameter in router.parameters}
        with pytest.raises(RoutingFault, match="no parameter"):
            router.filled({"warmth": 1})
        for parameter in router.parameters:
            for bad in (parameter.minimum - 1, parameter.maximum + 1, float("nan"), "x", True):
                with pytest.raises(RoutingFault, match="between"):
                    router.filled({parameter.name: bad})


@settings(max_examples=30)
@given(st.integers(0, 99), st.integers(1, 12), st.integers(1, 8))
def test_the_mean_of_the_largest(seed: int, columns: int, count: int) -> None:
    values = np.random.default_rng(seed).normal(size=(3, columns))
    expected = [np.mean(sorted(row)[::-1][:count]) for row in values]
    assert top_mean(values, count) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("router", ["best_five", "sharpened", "centroid", "trained"])
def test_an_input_goes_where_its_like_are(router: str) -> None:
    shelf = library()
    asked = np.stack([cloud(n, 40)[30] for n in range(4)])
    assert best(shelf, router, asked) == ["s0", "s1", "s2", "s3"]


def test_a_decision_explains_itself() -> None:
    shelf = library()
    decision = decide(shelf, ROUTERS[PLAIN], Query(cloud(2)[:1]), top=2)[0]
    first = decision.choices[0]
    cosines = cloud(2) @ cloud(2)[0]
    assert first.nearest[0] == (0, pytest.approx(1, abs=1e-5))
    assert [index for index, _ in first.nearest] == np.argsort(-cosines)[:3].tolist()
    assert first.score == pytest.approx(np.sort(cosines)[-5:].mean(), abs=1e-5)
    assert len(decision.choices) == 2 and first.share > decision.choices[1].share
    assert sum(c.share for c in decide(shelf, ROUTERS[PLAIN], Query(cloud(2)[:1]), top=9)[0].choices) == pytest.approx(
        1
    )


def test_fit_is_calibrated_leave_one_out() -> None:
    shelf, rows = library(), cloud(1)
    scores = [np.sort(np.delete(rows @ row, n))[-5:].mean() for n, row in enumerate(rows)]
    assert usual_scores(rows) == pytest.approx([np.mean(scores), np.std(scores)], abs=1e-5)
    place = shelf.position("s1")
    assert place is not None
    far = unit(-rows.mean(0))
    value = fit(shelf, place, far)
    assert value is not None and value < -2.5
    assert decide(shelf, ROUTERS[PLAIN], Query(far[None]), candidates=np.array([place]))[0].none
    few = Library(WIDTH, [Profile("few", cloud(1, 4))])
    assert fit(few, 0, far) is None and not decide(few, ROUTERS[PLAIN], Query(far[None]))[0].none


def test_what_is_no_candidate_shapes_nothing() -> None:
    shelf, alone = library(3), library(2)
    shelf.add(Profile("hidden", cloud(0, 50), shared=False))
    candidates = np.asarray([shelf.position("s0"), shelf.position("s1")])
    for router in ("best_five", "sharpened", "centroid", "trained"):
        if router == "sharpened":
            continue  # its covariance comes from all shared profiles, and s2 is one
        with_more = decide(shelf, ROUTERS[router], Query(cloud(0)[:3]), candidates=candidates)
        without = decide(alone, ROUTERS[router], Query(cloud(0)[:3]))
        for one, other in zip(with_more, without, strict=True):
            assert [c.name for c in one.choices] == [c.name for c in other.choices]
            assert [c.share for c in one.choices] == pytest.approx([c.share for c in other.choices], abs=1e-6)
    before = shelf.likely(cloud(1), candidates)
    shelf.add(Profile("hidden too", cloud(9, 50), shared=False))
    assert np.array_equal(before, shelf.likely(cloud(1), candidates))


def test_the_discriminant_is_fishers_in_closed_form() -> None:
    shelf = library()
    asked = cloud(5).astype(float)
    found = shelf.likely(asked, shelf.positions)
    clouds = [cloud(n).astype(float) for n in range(4)]
    pooled = sum((rows - rows.mean(0)).T @ (rows - rows.mean(0)) for rows in clouds) / (80 - 4)
    pooled = 0.7 * pooled + 0.3 * np.trace(pooled) / WIDTH * np.eye(WIDTH)
    for column, rows in enumerate(clouds):
        direction = np.linalg.solve(pooled, rows.mean(0))
        assert found[:, column] == pytest.approx(asked @ direction - 0.5 * rows.mean(0) @ direction, rel=1e-4)


def test_adding_and_removing_changes_nobody_else() -> None:
    shelf = library()
    kept = [shelf.at(n).rows.copy() for n in range(4)]
    shelf.add(Profile("late", cloud(7)))
    shelf.remove("s1")
    assert all(np.array_equal(shelf.at(n).rows, kept[n]) for n in (0, 2, 3)) and len(shelf) == 4
    shelf.add(Profile("again", cloud(8)))
    assert shelf.position("again") == 1 and "s1" not in best(shelf, PLAIN, cloud(1))
    fresh = Library(WIDTH, [Profile(str(n), cloud(n)) for n in (0, 8, 2, 3, 7)])
    found, expected = (one.likely(cloud(1), one.positions) for one in (shelf, fresh))
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_how_texts_are_written_tells_alike_meanings_apart() -> None:
    same, calm, loud = (
        cloud(3, 24),
        [f"It works well, number {n}." for n in range(24)],
        [f"lol gr8 m8 {n} !!" for n in range(24)],
    )
    shelf = Library(
        WIDTH, [Profile("calm", same, texts=tuple(calm)), Profile("loud", same[::-1].copy(), texts=tuple(loud))]
    )
    asked = Query(same[:2], texts=["It works badly, number 77.", "lol m8 99 !!"])
    assert [decision.choices[0].name for decision in decide(shelf, ROUTERS["sharpened"], asked)] == ["calm", "loud"]
    shelf.add(Profile("vectors only", cloud(6, 24)))
    mixed = decide(
        shelf,
        ROUTERS["sharpened"],
        Query(np.vstack([same[:1], cloud(6, 24)[:1]]), texts=["It works, 7.", "It works, 7."]),
    )
    assert [decision.choices[0].name for decision in mixed] == ["calm", "vectors only"]
    shelf.remove("loud")
    again = Library(WIDTH, [Profile("calm", same, texts=tuple(calm)), Profile("vectors only", cloud(6, 24))])
    found, expected = (one.likely(same[:3], one.positions, calm[:3]) for one in (shelf, again))
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-2)


@given(st.lists(st.text(max_size=400), min_size=1, max_size=4))
def test_surfaces_are_unit_vectors_whatever_the_letters(texts: list[str]) -> None:
    found = surfaces(texts)
    assert found.shape == (len(texts), 512) and np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(surfaces(["Well DONE"]), surfaces(["well done"]))


def test_a_hint_decides_between_alike_texts() -> None:
    words = {name: unit(np.random.default_rng(n + 50).normal(size=WIDTH)) for n, name in enumerate(("a", "b"))}
    same = cloud(3)
    shelf = Library(WIDTH, [
        Profile("mood", same, ("positive", "negative"), words["a"]), Profile("topic", same[::-1].copy(), ("plot", "opinion"), words["b"]),
    ])  # fmt: skip
    for hint, expected in (
        (Hint(labels=("Opinion", "PLOT")), "topic"), (Hint(labels=("negative", "positive")), "mood"),
        (Hint(vector=words["b"]), "topic"), (Hint(vector=words["a"]), "mood"),
    ):  # fmt: skip
        assert best(shelf, "hinted", same[:2], hint=hint) == [expected] * 2
    with pytest.raises(RoutingFault, match="hint"):
        best(shelf, "hinted", same[:1])


def test_weights_answer_hidden_states() -> None:
    chance = np.random.default_rng(0)
    left, right = chance.normal(size=(9, 2)).astype(np.float32), chance.normal(size=(2, 7)).astype(np.float32)
    mapped = maps(Update({"q": (left, right), "v (ia3)": (np.ones((1, 1)), np.ones((1, 7)))}))
    assert set(mapped) == {"q"}
    hidden = {"q": [chance.normal(size=(5, 7)).astype(np.float32), chance.normal(size=(3, 7)).astype(np.float32)]}
    dense = left @ right
    expected = [np.linalg.norm(tokens @ dense.T, axis=1).mean() / np.linalg.norm(dense) for tokens in hidden["q"]]
    assert answers(mapped, hidden) == pytest.approx(expected, rel=1e-5)
    direction = np.linalg.svd(dense)[2][0]
    arrow = [np.abs(tokens @ direction).mean() for tokens in hidden["q"]]
    assert answers(mapped, hidden, arrow=True) == pytest.approx(arrow, rel=1e-4)
    with pytest.raises(RoutingFault, match="hidden states"):
        answers(mapped, {"k": hidden["q"]})


def test_a_shortlist_keeps_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    from adapters.routing import profiles

    shelf = Library(WIDTH, [Profile(str(n), cloud(n, 8)) for n in range(300)])
    asked = np.stack([cloud(n, 12)[10] for n in range(20)])
    exact = best(shelf, PLAIN, asked)
    monkeypatch.setattr(profiles, "EXACT_ROWS", 10)
    kept = shelf.shortlist(asked[:1], shelf.positions)
    assert len(kept) == profiles.SHORTLIST
    agreed = np.mean([best(shelf, PLAIN, asked[n : n + 1])[0] == exact[n] for n in range(20)])
    assert agreed >= 0.95


def test_a_packed_router_is_the_same_router() -> None:
    shelf = library()
    data = pack([({"name": f"s{n}", "labels": ["a", "b"]}, cloud(n)) for n in range(4)], "e" * 64)
    again, told = unpack(data)
    assert told["encoder"] == "e" * 64 and again.at(0).labels == ("a", "b")
    asked = np.stack([cloud(n, 40)[30] for n in range(4)])
    assert best(again, PLAIN, asked) == best(shelf, PLAIN, asked)
    for bad in (b"", b"x" * 40, data[:100], save({"vectors": np.ones((2, 3))})):
        with pytest.raises(RoutingFault, match="xport"):
            unpack(bad)
    with pytest.raises(RoutingFault, match="no specialist"):
        pack([], "")


def test_bad_vectors_are_refused() -> None:
    shelf = library()
    for vectors in (np.ones((1, WIDTH + 1)), np.zeros((1, WIDTH)), np.full((1, WIDTH), np.nan)):
        with pytest.raises(RoutingFault):
            best(shelf, PLAIN, vectors)
    for rows in (np.ones((3, WIDTH + 1)), np.zeros((3, WIDTH)), np.full((3, WIDTH), np.inf)):
        with pytest.raises(ValueError, match="vectors"):
            shelf.add(Profile("bad", rows))
    assert len(shelf) == 4
    assert decide(Library(WIDTH), ROUTERS[PLAIN], Query(cloud(0)[:1]))[0].none


def test_the_surer_of_two_close_ones_speaks() -> None:
    logits, neutral = [np.array([9.0, 0.0]), np.array([1.0, 0.0])], [np.array([n / 10, 0.0]) for n in range(20)]
    assert energies(logits) == pytest.approx([np.log(np.exp(9) + 1), np.log(np.exp(1) + 1)])
    sure = sureness(logits, neutral)
    assert sure[0] == 3.0 and -1 < sure[1] < 1, "within three deviations, whatever the scale"
    assert sureness([9 * row for row in logits], [9 * row for row in neutral])[0] == 3.0
    assert close([0.7, 0.65, 0.6]) == 2 and close([0.7, 0.5]) == close([0.7]) == 1
    assert surest([0.70, 0.65], [-1.0, 2.0]) == 1 and surest([0.70, 0.65], [1.0, 2.0]) == 0
    assert surest([0.70, 0.69], [None, 3.0]) == surest([0.7], [0.0]) == 0
