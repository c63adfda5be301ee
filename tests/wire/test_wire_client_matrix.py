"""Clients of four ages, each with Xet on and off: what one sends, every other reads."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.wire.conftest import Run
from tests.wire.test_wire_large import random_weights
from tests.wire.test_wire_xet import DOWNLOAD, MIB, UPLOAD

VERSIONS = ("0.36.0", "1.19.0", "1.33.0", "2.4.0")


def packages(version: str) -> Path:
    """The packages of a client, installed once into a folder that later runs find again."""
    folder = (
        Path(tempfile.gettempdir()) / f"tessera-clients-{sys.version_info.minor}" / f"huggingface_hub-{version}-xet"
    )
    done = folder / ".complete"
    if not done.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(folder)]
        subprocess.run([*pip, "--upgrade", f"huggingface_hub=={version}", "hf-xet<2"], check=True, timeout=240)
        done.touch()
    return folder


@pytest.fixture(scope="module")
def source(live_hub: object, small_parts: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one large file and one small."""
    folder = tmp_path_factory.mktemp("source")
    random_weights(folder / "model.safetensors", 3 * MIB)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("off", [False, True], ids=["xet", "no-xet"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_client_reads_what_every_client_sent(
    python: Run, source: Path, small_parts: str, tmp_path: Path, version: str, off: bool
) -> None:
    here = {"HF_ENDPOINT": small_parts}
    more = here | {"HF_XET_CACHE": str(tmp_path / "xet")} | ({"HF_HUB_DISABLE_XET": "1"} if off else {})
    if version != VERSIONS[-1]:
        more["PYTHONPATH"] = str(packages(version))
    python(f"import huggingface_hub as h; assert h.__version__ == '{version}'", **more)
    repo = f"wire-alice/matrix-{version.replace('.', '-')}-{'off' if off else 'on'}"
    python(UPLOAD, small_parts, repo, str(source), **more)
    other = here | {"HF_XET_CACHE": str(tmp_path / "xet2")}
    readers = {"same": more, "newest": other, "plain": other | {"HF_HUB_DISABLE_XET": "1"}}
    for name, variables in readers.items():
        python(DOWNLOAD, small_parts, repo, str(tmp_path / name), **variables)
        for path in source.iterdir():
            assert (tmp_path / name / path.name).read_bytes() == path.read_bytes(), (name, path.name)
