"""A hub with an upstream: models of owners it does not know come from there, all others never do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

from hub.stack import environment
from hub.stack.process import Process
from tests import services as support
from tests.services import LiveHub
from tests.wire.conftest import Tokens
from tests.wire.test_wire_client import adapter_files, publish


@pytest.fixture(scope="module")
def leaf(live_hub: LiveHub) -> Iterator[LiveHub]:
    """A second hub with a database of its own, whose upstream is the first."""
    name, port = f"live_{support.RUN}_leaf", environment.free_port()
    command = live_hub.processes["web"].command
    words = [word if not word.startswith("127.0.0.1:") else f"127.0.0.1:{port}" for word in command.argv]
    url = urlsplit(live_hub.variables["DATABASE_URL"])._replace(path=f"/{name}").geturl()
    variables = {**live_hub.variables, "DATABASE_URL": url, "UPSTREAM_URL": live_hub.url}
    with support.database(name):
        process = Process(replace(command, name="leaf", argv=words, environment=variables), live_hub.state)
        hub = LiveHub(f"http://127.0.0.1:{port}", live_hub.state, variables, {"web": process, "leaf": process})
        try:
            support.wait_until_live(hub, {"web"})
            yield hub
        finally:
            process.stop()


@pytest.mark.slow
def test_bases_come_from_the_upstream(live_hub: LiveHub, tokens: Tokens, leaf: LiveHub, tmp_path: Path) -> None:
    publish(HfApi(endpoint=live_hub.url, token=tokens.alice), "wire-alice/upstream-base")
    here = HfApi(endpoint=leaf.url, token=False)
    folder = Path(here.snapshot_download("wire-alice/upstream-base", cache_dir=tmp_path / "one"))
    for path, data in adapter_files().items():
        assert (folder / path).read_bytes() == data
    back = here.hf_hub_download("wire-alice/upstream-base", "adapter_model.safetensors", cache_dir=tmp_path / "two")
    assert Path(back).read_bytes() == adapter_files()["adapter_model.safetensors"]
    with pytest.raises(EntryNotFoundError):
        here.hf_hub_download("wire-alice/upstream-base", "nothing.json", cache_dir=tmp_path / "three")
    with pytest.raises(RepositoryNotFoundError):
        here.model_info("wire-alice/never")
    token = leaf.create_account("wire-alice")  # from now on that name is known here, and nothing of it is looked for
    HfApi(endpoint=leaf.url, token=token).create_repo("wire-alice/mine", private=True)
    for name in ("upstream-base", "mine", "never"):
        with pytest.raises(RepositoryNotFoundError):
            here.model_info(f"wire-alice/{name}")
