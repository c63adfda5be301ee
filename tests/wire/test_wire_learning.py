"""peft and transformers, with nothing but HF_ENDPOINT set: bases and adapters go up and come back equal."""

from pathlib import Path

import pytest

from tests.pure.tiny_models import write_encoder
from tests.wire.conftest import Run


@pytest.mark.slow
def test_peft_and_transformers_round_trip(python: Run, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "base")
    source = (Path(__file__).parent / "learning_client.py").read_text()
    assert "all equal" in python(source, str(folder), "wire-alice").stdout


@pytest.mark.slow
def test_the_code_a_repo_shows_runs_and_answers(python: Run, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "base")
    source = (Path(__file__).parent / "snippets_client.py").read_text()
    assert "all answered" in python(source, str(folder), "wire-alice").stdout
