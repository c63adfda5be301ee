"""Real clients against a live hub: people of their own, homes of their own, so that nothing leaks in or out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hub.stack import environment
from hub.stack.process import Process
from tests import services as support
from tests.services import LiveHub

Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Tokens:
    """The people of TESTING: Alice owns, Bob is on her team (acme), Charlie must see nothing."""

    alice: str
    bob: str
    charlie: str


@pytest.fixture(scope="session")
def tokens(live_hub: LiveHub) -> Tokens:
    names = {name: live_hub.create_account(f"wire-{name}") for name in ("alice", "bob", "charlie")}
    live_hub.create_account("wire-acme", org=True, members="wire-alice,wire-bob")
    return Tokens(**names)


@pytest.fixture(scope="session")
def api(live_hub: LiveHub, tokens: Tokens) -> Callable[[str | None], HfApi]:
    """The newest client as somebody (`api("alice")`) or nobody (`api(None)`)."""

    def of(name: str | None) -> HfApi:
        return HfApi(endpoint=live_hub.url, token=getattr(tokens, name) if name else False)

    return of


@pytest.fixture
def client_variables(live_hub: LiveHub, tokens: Tokens, tmp_path: Path) -> dict[str, str]:
    """The environment of a client process of Alice with a home of its own; no variable of the hub is in it."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": live_hub.url,
        "HF_TOKEN": tokens.alice,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


@pytest.fixture
def hf(client_variables: dict[str, str]) -> Run:
    """The `hf` command of the newest client; fails the test with both streams unless `check=False`."""
    return _runner([str(Path(sys.executable).with_name("hf"))], client_variables)


@pytest.fixture
def python(client_variables: dict[str, str]) -> Run:
    """A Python program as a client process: `python(source)`."""
    return _runner([sys.executable, "-c"], client_variables)


def _runner(start: list[str], variables: dict[str, str]) -> Run:
    def run(*words: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*start, *words], env=variables | more, capture_output=True, text=True, check=False, timeout=240
        )
        if check and done.returncode:
            pytest.fail(f"{words[0][:200]} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    return run


@pytest.fixture(scope="session")
def small_parts(live_hub: LiveHub) -> Iterator[str]:
    """A second web process of the same hub with parts of 8 MiB and little room in commits; its address."""
    port = environment.free_port()
    command = live_hub.processes["web"].command
    words = [word if not word.startswith("127.0.0.1:") else f"127.0.0.1:{port}" for word in command.argv]
    small = {"LIMIT_PART_BYTES": str(8 * 1024**2), "LIMIT_REGULAR_BYTES": str(1024**2)}
    second = replace(command, name="web2", argv=words, environment={**command.environment, **small})
    process = Process(second, live_hub.state)
    hub = LiveHub(f"http://127.0.0.1:{port}", live_hub.state, live_hub.variables, {"web2": process, "web": process})
    try:
        support.wait_until_live(hub, {"web"})
        yield hub.url
    finally:
        process.stop()
