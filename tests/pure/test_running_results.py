"""Ranks shared out over an adapter, runs that go on, convolutions, statistics beside adapters, soft mixtures' files."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file

from merges.recipes import RecipeError, parse
from merges.running import LocalAdapter, MergeReport, allocation, run
from tests.make_adapters import ia3_config, ia3_tensors, lora_config, lora_tensors, write_adapter

TARGETS = ("query", "key", "value")
RANDOM = np.random.default_rng(0)


def quiet(done: int, total: int, text: str) -> None:
    """No one is watching."""


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    config = lora_config(target_modules=list(TARGETS))
    return [write_adapter(tmp_path / f"in{n}", config, lora_tensors(targets=TARGETS, seed=n)) for n in range(3)]


def merge(
    folders: list[Path], target: Path, method: str = "task_arithmetic", scratch: Path | None = None, **more: object
) -> MergeReport:
    names = [f"alice/{folder.name}" for folder in folders]
    recipe = parse({"merge_method": method, "inputs": [{"adapter": name} for name in names], **more})
    given = [LocalAdapter(*pair) for pair in zip(names, folders, strict=True)]
    return run(recipe, given, target, more.get("progress", quiet), scratch=scratch)  # type: ignore[arg-type]


def products(folder: Path) -> dict[str, np.ndarray]:
    """B·A of every module; our results have scaling 1."""
    tensors = load_file(folder / "adapter_model.safetensors")
    return {
        name.removesuffix(".lora_A.weight"): tensors[name.replace("lora_A", "lora_B")] @ value
        for name, value in tensors.items()
        if name.endswith("lora_A.weight")
    }


def test_a_share_of_energy_is_kept_with_the_fewest_ranks() -> None:
    spectra = [np.array([10.0, 1.0, 0.5]), np.array([9.0, 8.0, 0.1]), np.array([0.2])]
    assert allocation.for_energy(spectra, [10, 10, 10], 0.9) == [1, 2, 1]
    assert allocation.for_energy(spectra, [10, 10, 10], 1.0) == [3, 3, 1]
    assert allocation.for_numbers(spectra, [10, 10, 10], 40) == [1, 2, 1]
    with pytest.raises(ValueError, match="rank 1 in every layer needs 30"):
        allocation.for_numbers(spectra, [10, 10, 10], 29)


@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_energy_and_bytes_say_what_they_lose(method: str, folders: list[Path], tmp_path: Path) -> None:
    merge(folders, tmp_path / "exact", method, output={"form": "exact"})
    exact = products(tmp_path / "exact")
    total = sum(float((value.astype(float) ** 2).sum()) for value in exact.values())
    most = sum(sum(value.shape) for value in exact.values()) * 4 * 2
    for name, output in {"energy": {"energy": 0.8}, "bytes": {"max_bytes": most}}.items():
        report = merge(folders, tmp_path / name, method, output=output)
        written = products(tmp_path / name)
        lost = sum(float(((exact[key].astype(float) - value) ** 2).sum()) for key, value in written.items())
        assert report.totals.error == pytest.approx((lost / total) ** 0.5, rel=1e-3)
        assert report.totals.error > 0.01
        if name == "energy":
            assert 1 - lost / total >= 0.8 - 1e-6
        else:
            assert 0.8 * most < report.totals.parameters * 4 <= most
    with pytest.raises(RecipeError, match="rank 1 in every layer"):
        merge(folders, tmp_path / "small", method, output={"max_bytes": 10})


def test_a_killed_run_goes_on_and_gives_the_same_bytes(folders: list[Path], tmp_path: Path) -> None:
    merge(folders, tmp_path / "expected", "ties")
    worked: list[str] = []

    def dying(done: int, total: int, text: str) -> None:
        worked.append(text)
        if done == 4:
            raise KeyboardInterrupt

    names = [f"alice/{folder.name}" for folder in folders]
    recipe = parse({"merge_method": "ties", "inputs": names})
    given = [LocalAdapter(*pair) for pair in zip(names, folders, strict=True)]
    with pytest.raises(KeyboardInterrupt):
        run(recipe, given, tmp_path / "out", dying, scratch=tmp_path / "scratch")
    assert len(list((tmp_path / "scratch").glob("*.npz"))) == 4
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "scratch").glob("*.npz")}
    run(recipe, given, tmp_path / "out", quiet, scratch=tmp_path / "scratch")
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    for path in (tmp_path / "expected").rglob("*.*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "expected")).read_bytes()


@pytest.mark.parametrize("space", ["core", "knots"])
def test_shared_spaces_are_a_word_in_the_recipe(space: str, folders: list[Path], tmp_path: Path) -> None:
    report = merge(folders, tmp_path / "out", "ties", space=space)
    assert report.totals.largest_rank <= 6
    assert f"space: {space}" in (tmp_path / "out" / "recipe.yaml").read_text()
    with pytest.raises(RecipeError, match="does not work entry by entry"):
        merge(folders, tmp_path / "no", "tsv_m", space=space)


class Convolutions(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


def test_convolutions_merge_as_peft_runs_them(tmp_path: Path) -> None:
    folders, outputs = [], []
    pictures = torch.randn(2, 3, 6, 6)
    torch.manual_seed(0)
    base = Convolutions().eval()
    state = base.state_dict()

    def fresh() -> Convolutions:
        model = Convolutions().eval()
        model.load_state_dict(state)
        return model

    for seed in (1, 2):
        model = get_peft_model(fresh(), LoraConfig(r=2, lora_alpha=4, target_modules=["conv"]))
        torch.manual_seed(seed)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(str(tmp_path / f"c{seed}"))
        folders.append(tmp_path / f"c{seed}")
        outputs.append(model.eval()(pictures) - base(pictures))
    merge(folders, tmp_path / "out", parameters={"lambda": 1.0})
    loaded = PeftModel.from_pretrained(fresh(), str(tmp_path / "out"))
    torch.testing.assert_close(loaded(pictures) - base(pictures), sum(outputs), atol=1e-5, rtol=1e-4)


def put_statistics(folder: Path, kind: str, tensors: dict[str, np.ndarray], sha256: str | None = None) -> None:
    own = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    (folder / "statistics").mkdir(exist_ok=True)
    save_file(tensors, folder / "statistics" / f"{kind}.safetensors", {"weights_sha256": sha256 or own})


def test_fisher_and_regmean_read_what_is_published_beside_the_adapters(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="has no fisher statistics"):
        merge(folders, tmp_path / "out", "fisher")
    exact = {}
    for folder in folders:
        merge([folder, folders[0] if folder != folders[0] else folders[1]], tmp_path / f"x{folder.name}")
        modules = list(products(tmp_path / f"x{folder.name}"))
        shape = next(iter(products(tmp_path / f"x{folder.name}").values())).shape
        names = [module.removeprefix("base_model.model.") for module in modules]
        rows = RANDOM.normal(size=(9, shape[1])).astype(np.float32)
        put_statistics(folder, "fisher", {name: np.full(shape, 0.5, np.float32) for name in names})
        put_statistics(folder, "gram", dict.fromkeys(names, rows.T @ rows))
        exact[folder] = names
    merge(folders, tmp_path / "fisher", "fisher", output={"form": "exact"})
    merge(folders, tmp_path / "mean", "mean")
    for name, value in products(tmp_path / "fisher").items():
        np.testing.assert_allclose(value, products(tmp_path / "mean")[name], atol=1e-5)
    assert merge(folders, tmp_path / "regmean", "regmean").totals.error < 1e-5
    put_statistics(folders[0], "gram", {"x": np.zeros(1, np.float32)}, sha256="0" * 64)
    with pytest.raises(RecipeError, match="in0 has no gram statistics for its present weights"):
        merge(folders, tmp_path / "stale", "regmean")


def test_a_soft_mixture_keeps_its_experts_and_a_router(folders: list[Path], tmp_path: Path) -> None:
    for number, folder in enumerate(folders):
        put_statistics(folder, "prototype", {"prototype": np.eye(4, dtype=np.float32)[number]})
    merge(folders, tmp_path / "soft", "soft_moe")
    routing = json.loads((tmp_path / "soft" / "routing.json").read_text())
    assert [expert["name"] for expert in routing["experts"]] == ["alice/in0", "alice/in1", "alice/in2"]
    assert load_file(tmp_path / "soft" / "router.safetensors")["prototypes"].shape == (3, 4)
    ranks = {
        module: sum(expert["ranks"][module] for expert in routing["experts"])
        for module in routing["experts"][0]["ranks"]
    }
    for name, value in load_file(tmp_path / "soft" / "adapter_model.safetensors").items():
        if name.endswith("lora_A.weight"):
            assert len(value) == ranks[name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")]
    other = write_adapter(tmp_path / "ia3", ia3_config(), ia3_tensors())
    with pytest.raises(RecipeError, match="not a plain LoRA adapter"):
        merge([folders[0], other], tmp_path / "no", "soft_moe")
