"""Whole checkpoints: base, fine-tunes and adapters into one, streamed; what resumes, what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel, T5ForConditionalGeneration

from adapters.formats.inspect import inspect_adapter
from adapters.formats.safetensors_header import read_header
from merges.recipes import RecipeError, parse
from merges.running import Cancelled, LocalAdapter, MergeReport, run
from tests.pure.test_running_peft import KINDS, answers, base_of, expected, save_random


def quiet(done: int, total: int, text: str) -> None:
    """No one is watching."""


def save_base(folder: Path, kind: str = "plain") -> Path:
    base_of(kind).save_pretrained(folder)
    return folder


def fine_tune(folder: Path, base: Path, seed: int, dtype: torch.dtype = torch.float32) -> Path:
    """A full fine-tune: the base plus noise."""
    folder.mkdir()
    torch.manual_seed(seed)
    tensors = load_file(base / "model.safetensors")
    moved = {name: (value + 0.05 * torch.randn_like(value)).to(dtype) for name, value in tensors.items()}
    save_file(moved, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_bytes((base / "config.json").read_bytes())
    return folder


def merge(
    base: Path,
    inputs: dict[str, Path],
    target: Path,
    method: str = "task_arithmetic",
    weights: list[float] | None = None,
    scratch: Path | None = None,
    progress: object = quiet,
    **more: object,
) -> MergeReport:
    entries = [
        {("adapter" if (folder / "adapter_config.json").exists() else "model"): name, "weight": weight}
        for (name, folder), weight in zip(inputs.items(), weights or [1.0] * len(inputs), strict=True)
    ]
    raw = {"merge_method": method, "base": "acme/tiny", "inputs": entries, "output": {"form": "checkpoint"}} | more
    if method in ("task_arithmetic", "ties", "dare", "tsv_m", "iso_c") and "parameters" not in more:
        raw["parameters"] = {"lambda": 1.0}
    given = [LocalAdapter(name, folder) for name, folder in inputs.items()]
    return run(parse(raw), given, target, progress, base=LocalAdapter("acme/tiny", base), scratch=scratch)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(KINDS))
def test_adapters_fold_into_a_checkpoint_as_peft_folds_them(kind: str, tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", kind)
    folders = [tmp_path / "one", tmp_path / "two"]
    for seed, folder in enumerate(folders):
        save_random(kind, folder, seed + 1)
    merge(base, {"a/one": folders[0], "a/two": folders[1]}, tmp_path / "out", weights=[0.7, -0.4])
    loaded = type(base_of(kind)).from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(answers(loaded), expected(kind, folders, [0.7, -0.4]), atol=2e-5, rtol=1e-4)


@pytest.fixture
def lab(tmp_path: Path) -> tuple[Path, dict[str, Path]]:
    base = save_base(tmp_path / "base")
    return base, {f"a/{n}": fine_tune(tmp_path / f"tune{n}", base, n + 1) for n in range(3)}


def test_task_arithmetic_of_fine_tunes_is_the_plain_formula(lab: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    base, tunes = lab
    report = merge(base, tunes, tmp_path / "out", weights=[0.5, 0.25, -0.1])
    start, merged = load_file(base / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    models = [load_file(folder / "model.safetensors") for folder in tunes.values()]
    for name, value in start.items():
        wanted = value + sum(w * (m[name] - value) for w, m in zip((0.5, 0.25, -0.1), models, strict=True))
        torch.testing.assert_close(merged[name], wanted, atol=1e-6, rtol=1e-6)
    assert report.totals.error == 0
    assert set(report.files) >= {"model.safetensors", "config.json", "recipe.yaml", "merge_report.json"}


@pytest.mark.parametrize("method", ["ties", "dare", "tsv_m", "iso_c", "iso_cts", "mean", "breadcrumbs"])
def test_every_data_free_method_takes_fine_tunes_and_repeats_its_bytes(
    method: str, lab: tuple[Path, dict[str, Path]], tmp_path: Path
) -> None:
    base, tunes = lab
    for name in ("first", "second"):
        merge(base, tunes, tmp_path / name, method)
    first, second = (tmp_path / name / "model.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert all(torch.isfinite(value).all() for value in load_file(first).values())


def test_ties_is_what_mergekits_formula_gives(lab: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    """Against the formula written out tensor by tensor (exactly int(d·n) kept, divided by the agreeing weights)."""
    base, tunes = lab
    merge(base, tunes, tmp_path / "out", "ties", [1.0, 0.5, 2.0], parameters={"density": 0.3, "lambda": 0.9})
    start, merged = load_file(base / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    models = [load_file(folder / "model.safetensors") for folder in tunes.values()]
    for name, value in start.items():
        parts = []
        for weight, model in zip((1.0, 0.5, 2.0), models, strict=True):
            delta = (model[name] - value).flatten()
            kept = torch.zeros_like(delta)
            best = delta.abs().argsort(descending=True, stable=True)[: max(1, int(0.3 * delta.numel()))]
            kept[best] = delta[best]
            parts.append(weight * kept)
        stack, shares = torch.stack(parts), torch.tensor([1.0, 0.5, 2.0])[:, None]
        sign = torch.where(stack.sum(0) >= 0, 1.0, -1.0)
        agrees = (stack * sign > 0).float()
        divided = (stack * agrees).sum(0) / (shares * agrees).sum(0).clamp(min=1e-9)
        wanted = value + 0.9 * divided.reshape(value.shape)
        torch.testing.assert_close(merged[name], wanted, atol=1e-5, rtol=1e-5)


def test_a_fine_tune_and_an_adapter_of_one_base_mix(lab: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    base, tunes = lab
    save_random("plain", tmp_path / "lora", 5)
    merge(base, {"a/0": tunes["a/0"], "a/lora": tmp_path / "lora"}, tmp_path / "both")
    merge(base, {"a/lora": tmp_path / "lora", "a/0": tunes["a/0"]}, tmp_path / "other", weights=[1.0, 0.0])
    start, both, alone, tune = (
        load_file(folder / "model.safetensors")
        for folder in (base, tmp_path / "both", tmp_path / "other", tunes["a/0"])
    )
    for name, value in both.items():
        torch.testing.assert_close(value, alone[name] + tune[name] - start[name], atol=1e-5, rtol=1e-5)


def test_shards_half_precision_and_ties_are_read(lab: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    base, tunes = lab
    half = fine_tune(tmp_path / "half", base, 9, torch.bfloat16)
    tensors = load_file(half / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[:7], "model-00002-of-00002.safetensors": names[7:]}
    for file, listed in parts.items():
        save_file({name: tensors[name] for name in listed}, half / file)
    weight_map = {name: file for file, listed in parts.items() for name in listed}
    (half / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (half / "model.safetensors").unlink()
    merge(base, {"a/half": half, "a/0": tunes["a/0"]}, tmp_path / "out", weights=[1.0, 0.0])
    merged = load_file(tmp_path / "out" / "model.safetensors")
    for name, value in tensors.items():
        torch.testing.assert_close(merged[name], value.float(), atol=1e-6, rtol=1e-6)


def test_rounding_to_16_bits_is_measured(lab: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    base, tunes = lab
    report = merge(base, tunes, tmp_path / "out", output={"form": "checkpoint", "dtype": "bfloat16"})
    exact = merge(base, tunes, tmp_path / "exact")
    start = load_file(base / "model.safetensors")
    whole, half = (load_file(tmp_path / name / "model.safetensors") for name in ("exact", "out"))
    lost = sum((half[name].double() - whole[name].double()).square().sum() for name in start)
    change = sum((whole[name].double() - start[name].double()).square().sum() for name in start)
    assert report.totals.error == pytest.approx(float((lost / change).sqrt()), rel=1e-2)
    assert exact.totals.error == 0
    assert half["embeddings.word_embeddings.weight"].dtype == torch.bfloat16


def test_a_delta_holds_what_is_added(lab: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    base, _ = lab
    for seed in (1, 2):
        save_random("plain", tmp_path / f"lora{seed}", seed)
    inputs = {"a/1": tmp_path / "lora1", "a/2": tmp_path / "lora2"}
    merge(base, inputs, tmp_path / "delta", "ties", output={"form": "delta"})
    merge(base, inputs, tmp_path / "whole", "ties")
    delta = load_file(tmp_path / "delta" / "delta.safetensors")
    start, whole = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "whole"))
    changed = {name for name in start if not torch.equal(start[name], whole[name])}
    assert set(delta) == changed
    for name, value in delta.items():
        torch.testing.assert_close(start[name] + value, whole[name], atol=1e-6, rtol=1e-6)


def test_a_killed_run_goes_on_and_gives_the_same_bytes(lab: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    base, tunes = lab
    merge(base, tunes, tmp_path / "expected", "ties")
    seen: list[str] = []

    def dying(done: int, total: int, text: str) -> None:
        seen.append(text)
        if done == 10:
            raise KeyboardInterrupt

    scratch = tmp_path / "scratch"
    with pytest.raises(KeyboardInterrupt):
        merge(base, tunes, tmp_path / "out", "ties", scratch=scratch, progress=dying)
    assert "MB" in seen[1]
    done = len((scratch / "journal.jsonl").read_text().splitlines()) - 1
    assert done == 10
    with (scratch / "journal.jsonl").open("a") as file:
        file.write('{"tensor": "torn')
    merge(base, tunes, tmp_path / "out", "ties", scratch=scratch)
    for path in (tmp_path / "expected").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name
    assert not (tmp_path / "out" / "journal.jsonl").exists()


def test_a_cancelled_run_leaves_nothing(lab: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    base, tunes = lab

    def stop(done: int, total: int, text: str) -> None:
        if done == 3:
            raise RuntimeError("stop")

    with pytest.raises(Cancelled):
        merge(base, tunes, tmp_path / "out", progress=stop)
    assert not list(tmp_path.glob("out*"))


def test_what_does_not_fit_is_said(lab: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    base, tunes = lab
    with pytest.raises(RecipeError, match="choose another method"):
        merge(base, tunes, tmp_path / "out", "fisher")
    larger = load_file(tunes["a/1"] / "model.safetensors")
    broken = {name: value.clone() for name, value in larger.items()}
    broken["encoder.layer.1.output.dense.weight"][0, 0] = float("nan")
    save_file(broken, tunes["a/1"] / "model.safetensors")
    with pytest.raises(RecipeError, match=r"encoder.layer.1.output.dense.weight becomes NaN"):
        merge(base, tunes, tmp_path / "out")
    larger["embeddings.word_embeddings.weight"] = torch.zeros(41, 16)
    save_file(larger, tunes["a/1"] / "model.safetensors")
    with pytest.raises(RecipeError, match="vocabularies"):
        merge(base, tunes, tmp_path / "out")
    del larger["embeddings.word_embeddings.weight"]
    save_file(larger, tunes["a/1"] / "model.safetensors")
    with pytest.raises(RecipeError, match="no tensor embeddings"):
        merge(base, tunes, tmp_path / "out")
    (tunes["a/1"] / "model.safetensors").unlink()
    with pytest.raises(RecipeError, match="not a checkpoint"):
        merge(base, tunes, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def change_all(folders: list[Path], name: str, value: torch.Tensor) -> None:
    for folder in folders:
        tensors = load_file(folder / "model.safetensors")
        save_file(tensors | {name: value.clone()}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("scratch", [False, True])
def test_values_too_large_for_the_output_are_named(
    scratch: bool, lab: tuple[Path, dict[str, Path]], tmp_path: Path
) -> None:
    base, tunes = lab
    change_all([base, *tunes.values()], "pooler.dense.bias", torch.full((16,), 7e4))
    output, kept = {"form": "checkpoint", "dtype": "float16"}, tmp_path / "kept" if scratch else None
    with pytest.raises(RecipeError, match=r"pooler.dense.bias holds values that are too large for float16"):
        merge(base, tunes, tmp_path / "out", output=output, scratch=kept)
    assert not list(tmp_path.glob("out*"))
    change_all([base], "pooler.dense.bias", torch.full((16,), 3e38))
    change_all(list(tunes.values()), "pooler.dense.bias", torch.full((16,), 3.2e38))
    with pytest.raises(RecipeError, match=r"pooler.dense.bias holds values that are too large for float32"):
        merge(base, tunes, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_a_result_that_cannot_be_finished_leaves_nothing(lab: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    base, tunes = lab
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        merge(base, tunes, tmp_path / "out")
    assert [path.name for path in tmp_path.glob("out*")] == ["out"]


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "tsv_m"])
@pytest.mark.parametrize("form", ["checkpoint", "delta"])
@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0)])
def test_empty_tensors_stay_as_they_are(
    shape: tuple[int, ...], form: str, method: str, lab: tuple[Path, dict[str, Path]], tmp_path: Path
) -> None:
    base, tunes = lab
    change_all([base, *tunes.values()], "a.weight", torch.zeros(shape))
    merge(base, tunes, tmp_path / "out", method, output={"form": form})
    file = "model.safetensors" if form == "checkpoint" else "delta.safetensors"
    made = load_file(tmp_path / "out" / file)
    assert ("a.weight" in made) == (form == "checkpoint")
    assert "pooler.dense.bias" in made
    assert form == "delta" or made["a.weight"].shape == shape


def test_two_modules_that_are_one_tensor_of_the_base_are_refused(tmp_path: Path) -> None:
    """An adapter of T5's encoder and decoder on a base that holds only the encoder: which half to take is no choice."""
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": 1, "vocab_size": 40}
    T5EncoderModel(T5Config(**sizes)).save_pretrained(tmp_path / "base")
    for name in ("one", "two"):
        model = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["SelfAttention.q"], init_lora_weights=False))
        adapted.peft_config["default"].base_model_name_or_path = "acme/tiny"
        adapted.save_pretrained(str(tmp_path / name))
    with pytest.raises(RecipeError, match=r"decoder\S*q and encoder\S*q, but acme/tiny has only encoder\S*q.weight"):
        merge(tmp_path / "base", {"a/one": tmp_path / "one", "a/two": tmp_path / "two"}, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
    config = (tmp_path / "one" / "adapter_config.json").read_bytes()
    weights, header = tmp_path / "one" / "adapter_model.safetensors", tmp_path / "base" / "model.safetensors"
    finding = inspect_adapter(config, weights, read_header(header)).finding("fits_base")
    assert finding.verdict == "fail"
    assert "for both decoder" in finding.summary


def test_a_vector_of_the_wrong_length_is_said(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "ia3 turned")
    for seed, name in enumerate(("one", "two")):
        save_random("ia3 turned", tmp_path / name, seed)
        weights = tmp_path / name / "adapter_model.safetensors"
        tensors = {key: value[:-1] if "c_attn" in key else value for key, value in load_file(weights).items()}
        save_file({key: value.contiguous() for key, value in tensors.items()}, weights)
    with pytest.raises(RecipeError, match=r"c_attn\S* by 47 numbers, but the base has 48"):
        merge(base, {"a/one": tmp_path / "one", "a/two": tmp_path / "two"}, tmp_path / "out")


def test_tied_heads_are_taken_once(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "fan_in_fan_out")
    assert "lm_head.weight" not in load_file(base / "model.safetensors")
    tune = fine_tune(tmp_path / "tune", base, 1)
    tensors = load_file(tune / "model.safetensors")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    save_file(tensors, tune / "model.safetensors")
    merge(base, {"a/t": tune, "a/u": fine_tune(tmp_path / "u", base, 2)}, tmp_path / "out", weights=[1.0, 0.0])
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert "lm_head.weight" not in merged
    torch.testing.assert_close(
        merged["transformer.wte.weight"], tensors["transformer.wte.weight"], atol=1e-6, rtol=1e-6
    )


MEMORY = """
import resource, sys
from pathlib import Path
from merges.recipes import parse
from merges.running import LocalAdapter, run
folder, count = Path(sys.argv[1]), int(sys.argv[2])
names = [f"a/{n}" for n in range(count)]
recipe = parse({"merge_method": "ties", "base": "a/base", "inputs": [{"model": name} for name in names]})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(recipe, [LocalAdapter(name, folder / "tune", "0" * 63 + str(n)) for n, name in enumerate(names)], folder / f"out{count}",
    lambda *_: None, base=LocalAdapter("a/base", folder / "base"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_number_of_models(tmp_path: Path) -> None:
    """50 MB of weights in five tensors: two or eight fine-tunes need the same few tensors' room."""
    random = np.random.default_rng(0)
    for name in ("base", "tune"):
        (tmp_path / name).mkdir()
        tensors = {f"w{n}": torch.from_numpy(random.normal(size=(1024, 2560)).astype(np.float32)) for n in range(5)}
        save_file(tensors, tmp_path / name / "model.safetensors")
    used = {}
    for count in (2, 8):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(tmp_path), str(count)], capture_output=True, text=True, check=True
        )
        used[count] = int(done.stdout) / 1024
    assert used[8] < 80, used
    assert used[8] - used[2] < 25, used
