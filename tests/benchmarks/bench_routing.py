"""Routers on eighteen real tasks: choice, hint, abstention, end accuracy, same task across seeds, cost.

Run from the repository root after `train_specialists`, with the same variables:
    python -m tests.benchmarks.bench_routing [choice|hint|abstain|end|seeds|halves|fishers|variational|cost|throughput ...]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from adapters.answering.neutral import NEUTRAL
from adapters.embeddings import question, task2vec
from adapters.embeddings import variational as variational_form
from adapters.embeddings.declaration import Material, Method, unit
from adapters.embeddings.texts import centroid
from adapters.embeddings.updates import cosine, published_form, read_update
from adapters.routing import Hint, Library, Profile, Query, routers
from adapters.routing.deciding import decide
from adapters.routing.surest import close, sureness, surest
from adapters.runtime.adapter_files import read_adapter
from adapters.runtime.examples import Example
from adapters.runtime.mixed import MixedBatches
from adapters.runtime.quiet import quiet_and_offline
from adapters.runtime.runtime import Runtime
from tests.benchmarks.routing_data import EIGHTEEN, Encoded, adapter_folder, all_encoded
from tests.benchmarks.train_specialists import FOURTEEN, NINE, TWICE, base_folder

ROUTERS = routers()
COMPARED = ("centroid", "best_five", "sharpened", "trained")
DRAWS, TESTED = 3, 100
NEUTRAL_LOGITS: dict[str, list[np.ndarray]] = {}


def say(figure: str, value: float, unit_: str, peer: float | None = None, **more: object) -> None:
    line = {"benchmark": figure, "value": round(value, 4), "unit": unit_, "peer": peer,
            "ratio": round(value / peer, 3) if peer else None, **more}  # fmt: skip
    print(json.dumps(line), flush=True)


def words(task: Encoded) -> str:
    labels = ", ".join(sorted(set(task.train_labels))).replace("_", " ")
    return f"{task.name.replace('_', ' ')}. Labels: {labels}"


def library(tasks: list[Encoded], count: int, seed: int, described: dict[str, np.ndarray] | None = None) -> Library:
    chance = np.random.default_rng(seed)
    made = Library(384)
    for task in tasks:
        kept = chance.permutation(len(task.train))[:count]
        labels = tuple(sorted(set(task.train_labels)))
        texts = tuple(task.train_texts[row][:300] for row in kept)
        made.add(Profile(task.name, task.train[kept], labels, (described or {}).get(task.name), texts=texts))
    return made


def scores(
    shelf: Library, router: str, vectors: np.ndarray, hint: Hint | None = None, texts: list[str] | None = None
) -> np.ndarray:
    chosen = ROUTERS[router]
    return chosen.score(shelf, Query(vectors, hint, texts=texts), shelf.positions, chosen.filled({}))


def choice(tasks: list[Encoded]) -> None:
    """Top-1 and top-3 over tasks, mean of draws, at 4, 16, 64 and 256 examples."""
    for count in (4, 16, 64, 256):
        for router in COMPARED:
            found = []
            for seed in range(DRAWS if router != "trained" else 1):
                shelf = library(tasks, count, seed)
                for place, task in enumerate(tasks):
                    ranked = np.argsort(-scores(shelf, router, task.test, texts=task.test_texts), axis=1)
                    found.append([(ranked[:, 0] == place).mean(), (ranked[:, :3] == place).any(1).mean()])
            first, third = np.mean(found, axis=0)
            say(f"choice, {router}, K={count}, {len(tasks)} tasks, top-1", first, "share", top3=round(float(third), 4))


def hint(tasks: list[Encoded]) -> None:
    """With the labels wanted as a hint: as wording only, and as a label set."""
    runtime = Runtime(base_folder(), max_length=64)
    described = {task.name: runtime.features([words(task)], normalise=True)[0] for task in tasks}
    shelf = library(tasks, 64, 0, described)
    for kind in ("wording", "label set"):
        right = []
        for place, task in enumerate(tasks):
            labels = tuple(sorted(set(task.train_labels)))
            vector = runtime.features([f"Labels: {', '.join(labels).replace('_', ' ')}"], normalise=True)[0]
            given = Hint(vector) if kind == "wording" else Hint(vector, labels)
            right.append((scores(shelf, "hinted", task.test, given).argmax(1) == place).mean())
        say(f"choice with hint ({kind}), K=64, {len(tasks)} tasks, top-1", float(np.mean(right)), "share")


def abstain(tasks: list[Encoded]) -> None:
    """Right choices among the surest, by the margin; and known against unknown inputs by the calibrated fit."""
    shelf = library(tasks, 64, 0)
    margins, right = [], []
    for place, task in enumerate(tasks):
        found = scores(shelf, "sharpened", task.test, texts=task.test_texts)
        ranked = np.sort(found, axis=1)
        margins += list(ranked[:, -1] - ranked[:, -2])
        right += list(found.argmax(1) == place)
    order = np.argsort(-np.asarray(margins))
    for share in (1.0, 0.9, 0.7, 0.5):
        kept = order[: int(share * len(order))]
        say(f"abstention, sharpened, K=64, answering {share:.0%}", float(np.asarray(right)[kept].mean()), "share right")
    known, unknown = [], []
    for left_out in range(len(tasks)):
        others = [task for place, task in enumerate(tasks) if place != left_out]
        shelf = library(others, 64, 0)
        for task, into in ((tasks[left_out], unknown), (others[left_out % len(others)], known)):
            found = shelf.best_cosines(task.test[:60], shelf.positions)
            best = found.argmax(1)
            into.append((found.max(1) - shelf.usual[shelf.positions[best], 0]) / shelf.usual[shelf.positions[best], 1])
    inside, outside = np.concatenate(known), np.concatenate(unknown)
    area = float((inside[:, None] > outside[None, :]).mean())
    say("known against unknown inputs, calibrated fit, AUROC", area, "area",
        rejected_known=round(float((inside < -2.5).mean()), 3), rejected_unknown=round(float((outside < -2.5).mean()), 3))  # fmt: skip


def end(tasks: list[Encoded]) -> None:
    """End accuracy of routed real adapters against always asking the right one."""
    runtime = Runtime(base_folder(), max_length=64)
    mixed = MixedBatches(runtime)
    for name in FOURTEEN:
        folder = adapter_folder(name)
        if folder:
            mixed.add(name, read_adapter(folder))
    for names in (NINE, FOURTEEN):
        chosen = [task for task in tasks if task.name in names and task.name in mixed]
        answer = answers_of(mixed, chosen)
        right = [answer(place, place, row) for place, task in enumerate(chosen) for row in range(TESTED)]
        say(f"end accuracy, oracle, {len(chosen)} tasks", float(np.mean(right)), "share")
        for router, count, surer in (
            ("best_five", 64, False), ("sharpened", 64, False), ("sharpened", 64, True), ("sharpened", 256, False),
            ("sharpened", 256, True), ("trained", 256, False), ("sharpened", 1000, True),
        ):  # fmt: skip
            shelf = library(chosen, count, 0)
            hit, ended = [], []
            for place, task in enumerate(chosen):
                found = scores(shelf, router, task.test[:TESTED], texts=task.test_texts[:TESTED])
                routed = surest_of(mixed, chosen, task, found) if surer else found.argmax(1)
                hit += list(routed == place)
                ended += [answer(int(to), place, row) for row, to in enumerate(routed)]
            way = f"{router}, the surer of close ones" if surer else router
            say(f"end accuracy, {way}, K={count}, {len(chosen)} tasks", float(np.mean(ended)), "share",
                routed_right=round(float(np.mean(hit)), 4))  # fmt: skip


def surest_of(mixed: MixedBatches, tasks: list[Encoded], task: Encoded, found: np.ndarray) -> np.ndarray:
    """Who speaks for each input of a task, as predict has it: the surer of the best two where they are close."""
    ranked = np.argsort(-found, axis=1)[:, :2]
    sure = np.zeros(ranked.shape)
    for column in (0, 1):
        names = [tasks[place].name for place in ranked[:, column]]
        logits = mixed.logits(task.test_texts[: len(names)], names)
        for row, (name, row_logits) in enumerate(zip(names, logits, strict=True)):
            if name not in NEUTRAL_LOGITS:
                NEUTRAL_LOGITS[name] = mixed.logits(list(NEUTRAL), [name] * len(NEUTRAL))
            sure[row, column] = sureness([row_logits], NEUTRAL_LOGITS[name])[0]
    best = np.take_along_axis(found, ranked, axis=1)
    asked = [close(list(row)) for row in best]
    return np.array([ranked[n, surest(list(best[n, :k]), list(sure[n, :k]))] for n, k in enumerate(asked)])


def answers_of(mixed: MixedBatches, tasks: list[Encoded]) -> Callable[[int, int, int], bool]:
    """Whether specialist `to` gives the label of row `row` of task `of`; each pair is run once."""
    known: dict[tuple[int, int, int], bool] = {}
    for place, task in enumerate(tasks):
        found = mixed.logits(task.test_texts[:TESTED], [task.name] * TESTED)
        for row, logits in enumerate(found):
            known[place, place, row] = (mixed.labels(task.name) or ())[int(logits.argmax())] == task.test_labels[row]

    def answer(to: int, of: int, row: int) -> bool:
        if (to, of, row) not in known:
            labels = mixed.labels(tasks[to].name) or ()
            wanted = tasks[of].test_labels[row]
            said = ""
            if wanted in labels:
                said = labels[int(mixed.logits([tasks[of].test_texts[row]], [tasks[to].name])[0].argmax())]
            known[to, of, row] = said == wanted
        return known[to, of, row]

    return answer


def seeds(_tasks: list[Encoded]) -> None:
    """Does the adapter of the same task with another seed come first, by ΔW and by the published A, B form?"""
    ones = {name: read_update(folder) for name in EIGHTEEN if (folder := adapter_folder(name))}
    twos = {name: read_update(folder) for name in TWICE if (folder := adapter_folder(name, 2))}
    for kind in ("effective update", "published A, B form"):
        first = []
        for name, other in twos.items():
            if kind.startswith("effective"):
                found = {task: cosine(other, update) for task, update in ones.items()}
            else:
                flat = published_form(other)
                found = {task: float(flat @ published_form(u) / np.linalg.norm(flat) / np.linalg.norm(published_form(u)))
                         for task, u in ones.items()}  # fmt: skip
            first.append(max(found, key=lambda task: found[task]) == name)
        say(f"same task across seeds first, {kind}, {len(twos)} pairs of {len(ones)}", float(np.mean(first)), "share")


def halves(tasks: list[Encoded]) -> None:
    """Does one half of a task's examples find the other half of the same task first? 64 examples each."""
    made: dict[str, list[list[np.ndarray]]] = {"texts": [], "question": []}
    for task in tasks:
        parts = halved(task)
        made["texts"].append([centroid(task.train[part]) for part in parts])
        made["question"].append(
            [question.fit_head(task.train[part], [task.train_labels[i] for i in part]) for part in parts]
        )
    for name, pairs in made.items():
        found_again(name, pairs, question.exact if name == "question" else lambda a, b: float(a @ b))


def fishers(tasks: list[Encoded], method: Method = task2vec.METHOD) -> None:
    """The same for Task2Vec; seconds a task."""
    runtime, pairs = Runtime(base_folder(), max_length=64), []
    for task in tasks:
        rows = [Example(text, label) for text, label in zip(task.train_texts, task.train_labels, strict=True)]
        halves_ = [Material([rows[row] for row in part], probe=runtime) for part in halved(task)]
        pairs.append([method.embed(material).vector for material in halves_])
    found_again(method.name, pairs, method.similarity)


def variational(tasks: list[Encoded]) -> None:
    """The same for its variational form, minutes for nine tasks."""
    fishers([task for task in tasks if task.name in NINE], variational_form.METHOD)


def halved(task: Encoded) -> list[np.ndarray]:
    """Two disjoint draws of 64 examples."""
    order = np.random.default_rng(3).permutation(len(task.train))
    return [order[:64], order[64:128]]


def found_again(name: str, pairs: list[list[np.ndarray]], compare: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """Say how often one half finds the other, and at which rank on average."""
    table = np.array([[compare(one[0], other[1]) for other in pairs] for one in pairs])
    ranks = np.asarray([(table[place] > table[place, place]).sum() + 1 for place in range(len(pairs))])
    say(f"half-split self found first, {name}, {len(pairs)} tasks", float(np.mean(ranks == 1)), "share",
        mean_rank=float(np.mean(ranks)))  # fmt: skip


def cost(_tasks: list[Encoded]) -> None:
    """Milliseconds for one decision after encoding, and encoding itself."""
    chance = np.random.default_rng(0)
    for specialists, rows in ((1000, 64), (100_000, 6)):
        shelf = Library(384)
        for number in range(specialists):
            centre = unit(chance.normal(size=384))
            made = unit(centre + 1.2 * chance.normal(size=(rows, 384)) / 384**0.5)
            shelf.add(Profile(str(number), made.astype(np.float16), shared=number < 500))
        asked = unit(np.stack([shelf.at(int(n)).rows[0] for n in chance.integers(0, specialists, 30)]).astype(np.float32)
                     + 0.5 * chance.normal(size=(30, 384)) / 384**0.5)  # fmt: skip
        for router in ("best_five", "sharpened"):
            decide(shelf, ROUTERS[router], Query(asked[:1]))
            spent, wall = [], []
            for row in asked:
                started, walled = time.process_time(), time.perf_counter()
                decide(shelf, ROUTERS[router], Query(row[None]))
                spent.append(time.process_time() - started)
                wall.append(time.perf_counter() - walled)
            say(f"one decision, {router}, {specialists:,} specialists x {rows}", float(np.median(spent)) * 1000,
                "ms of one processor", wall_ms=round(float(np.median(wall)) * 1000, 2))  # fmt: skip
    runtime = Runtime(base_folder(), max_length=64)
    spent = []
    for text in ["what is the balance of my savings account"] * 12:
        started = time.process_time()
        runtime.features([text], normalise=True)
        spent.append(time.process_time() - started)
    say("encoding one short input on one CPU thread", float(np.median(spent)) * 1000, "ms of one processor")


def throughput(tasks: list[Encoded]) -> None:
    """Texts per second with sixteen adapters mixed in a batch, beside one adapter in plain peft and transformers."""
    names = [name for name in EIGHTEEN if adapter_folder(name)][:16]
    texts = [text for task in tasks for text in task.test_texts[:8]][:128]
    runtime = Runtime(base_folder(), max_length=48)
    mixed = MixedBatches(runtime)
    for name in names:
        mixed.add(name, read_adapter(adapter_folder(name)))  # type: ignore[arg-type]
    which = [names[n % len(names)] for n in range(len(texts))]
    folder = adapter_folder(names[0])
    labels = len(json.loads((folder / "labels.json").read_text()))  # type: ignore[operator]
    with quiet_and_offline():
        tokenizer = AutoTokenizer.from_pretrained(base_folder())
        plain = PeftModel.from_pretrained(
            AutoModelForSequenceClassification.from_pretrained(base_folder(), num_labels=labels), str(folder)
        ).eval()

    def bare() -> None:
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        with torch.inference_mode():
            for start in range(0, len(texts), 32):
                part = [texts[n] for n in order[start : start + 32]]
                plain(**tokenizer(part, truncation=True, max_length=48, padding=True, return_tensors="pt"))

    mixed.logits(texts, which)
    bare()
    ours, theirs = [], []
    for _ in range(5):
        for work, into in ((lambda: mixed.logits(texts, which), ours), (bare, theirs)):
            started = time.perf_counter()
            work()
            into.append(len(texts) / (time.perf_counter() - started))
    say(
        f"predict, {len(names)} adapters mixed, batch 32",
        float(np.median(ours)),
        "texts/s",
        round(float(np.median(theirs)), 2),
    )


PARTS = {
    part.__name__: part for part in (choice, hint, abstain, end, seeds, halves, fishers, variational, cost, throughput)
}


def main() -> None:
    torch.set_num_threads(1)
    tasks = all_encoded()
    for name in sys.argv[1:] or PARTS:
        PARTS[name](tasks)


if __name__ == "__main__":
    main()
