"""Clients of every line the ecosystem still uses, each with Xet and without it, installed beside ours."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import huggingface_hub
import pytest

from tests.wire.conftest import Run

VERSIONS = ("0.36.0", "1.19.0", "1.33.0", huggingface_hub.__version__)
SOURCE = (Path(__file__).parent / "matrix_client.py").read_text()


def installed(version: str) -> str:
    """The folder of a client's packages, made once and found again by later runs; nothing for our own version."""
    if version == huggingface_hub.__version__:
        return ""
    folder = Path(tempfile.gettempdir()) / f"tessera-clients-{sys.version_info.minor}" / f"huggingface_hub-{version}"
    done = folder / ".complete"
    if not done.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(folder)]
        subprocess.run([*pip, "--upgrade", f"huggingface_hub=={version}"], check=True, timeout=240)
        done.touch()
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("xet", ["xet", "plain"])
@pytest.mark.parametrize("version", VERSIONS)
def test_client(python: Run, small_parts: str, tmp_path: Path, version: str, xet: str) -> None:
    """Files over 1 MiB go by LFS or Xet at this hub, smaller ones inside the commit."""
    variables = {"HF_ENDPOINT": small_parts, "PYTHONPATH": installed(version), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    if xet == "plain":
        variables["HF_HUB_DISABLE_XET"] = "1"
    repo = f"wire-alice/by-{version.replace('.', '-')}-{xet}"
    files = "300" if version == huggingface_hub.__version__ else "20"
    assert "fine" in python(SOURCE, version, repo, str(tmp_path), files, **variables).stdout
