"""`manage.py up` end to end: it starts, keeps data, mends what dies, and leaves nothing behind."""

import os
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psycopg
import pytest

from hub.stack import environment
from hub.stack.process import Command, Process, recorded, sweep
from tests.hub.stack_support import ROOT, clean_environment, families, up
from tests.services import RUN, database, hub_environment

pytestmark = pytest.mark.slow


@pytest.fixture
def outside(services, tmp_path):
    """Variables of a hub whose three services are given from outside."""
    with database(f"test_{RUN}_up"):
        yield hub_environment(f"test_{RUN}_up")


def manage(variables, *words):
    argv = [sys.executable, "manage.py", *words]
    return subprocess.run(argv, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=120)


def status(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


def test_embedded_hub_lives_twice_and_keeps_its_accounts(tmp_path):
    state, variables = tmp_path / "state", clean_environment()
    created = manage(
        variables, "create_account", "alice", "--token", "hf_alice_of_the_first_day", "--state", str(state)
    )
    assert created.returncode == 0, created.stderr
    assert "hf_alice_of_the_first_day" in created.stdout
    assert stat.S_IMODE((state / "stack.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((state / "seaweed" / "s3.json").stat().st_mode) == 0o600
    assert not families_of(state)

    with up(state, variables) as hub:
        hub.wait_for("Tessera is ready at")
        assert f"http://127.0.0.1:{hub.port}" in hub.text()
        parts = hub.pids()
        assert set(parts) == {"postgres", "valkey", "seaweed", "web", "fast", "heavy", "beat", "answer"}
        bob = manage(variables, "create_account", "bob", "--state", str(state))
        assert bob.stdout.strip().startswith("hf_")
        twin = manage(variables, "create_account", "alice", "--state", str(state))
        assert twin.returncode != 0
        with psycopg.connect(environment.read(state)["DATABASE_URL"]) as connection:
            rows = connection.execute("SELECT name FROM accounts_account WHERE name IN ('alice', 'bob')").fetchall()
        assert len(rows) == 2
        assert hub.interrupt() == 0
        assert not families(parts)
        assert not list((state / "run").glob("*.json"))


def families_of(state: Path) -> set[int]:
    return {pid for path in (state / "run").glob("*.json") if (pid := recorded(state, path.stem))}


def test_a_dead_part_is_started_again_and_a_second_hub_is_refused(outside, tmp_path):
    with up(tmp_path / "state", outside) as hub:
        hub.wait_for("Tessera is ready at")
        before = hub.pids()
        assert set(before) == {"web", "fast", "heavy", "beat", "answer"}, (
            "services given from outside are not ours to run"
        )

        second = manage(outside, "up", "--state", str(hub.state), "--port", str(environment.free_port()))
        assert second.returncode == 1
        assert f"runs already at http://127.0.0.1:{hub.port}" in second.stderr

        os.kill(before["web"], signal.SIGKILL)
        hub.wait_for("web ended by signal SIGKILL; starting it again")
        deadline = time.monotonic() + 30
        while hub.pids().get("web", before["web"]) == before["web"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert wait_for_answer(hub.port) < 500
        assert {name: pid for name, pid in hub.pids().items() if name != "web"} == {
            name: pid for name, pid in before.items() if name != "web"
        }


def wait_for_answer(port, seconds=30):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return status(port)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_nothing_outlives_a_killed_supervisor(outside, tmp_path):
    with up(tmp_path / "state", outside) as hub:
        hub.wait_for("Tessera is ready at")
        parts = hub.pids()
        hub.popen.kill()
        hub.popen.wait()
        deadline = time.monotonic() + 20
        while left := families(parts):
            assert time.monotonic() < deadline, f"still alive: {left}"
            time.sleep(0.1)


def test_a_taken_port_is_said_before_anything_starts(outside, live_hub, tmp_path):
    port = live_hub.url.rsplit(":", 1)[1]
    refused = manage(outside, "up", "--state", str(tmp_path / "state"), "--port", port)
    assert refused.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken: choose another with --port." in refused.stderr
    assert "starting" not in refused.stdout


def test_a_stranger_on_a_service_port_makes_us_move(tmp_path):
    import socket

    first = environment.ensure(tmp_path)
    assert environment.ensure(tmp_path) == first
    with socket.create_server(("127.0.0.1", int(first["VALKEY_PORT"]))):
        moved = environment.ensure(tmp_path)
    assert moved["VALKEY_PORT"] != first["VALKEY_PORT"]
    assert moved["BROKER_URL"] != first["BROKER_URL"]
    assert {k: v for k, v in moved.items() if "VALKEY" not in k and k != "BROKER_URL"} == {
        k: v for k, v in first.items() if "VALKEY" not in k and k != "BROKER_URL"
    }


def test_sweep_ends_only_what_we_recorded(tmp_path):
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours = Process(Command("sleeper", sleeper), tmp_path, keep=True)
    time.sleep(0.05)  # the kernel tells births apart by hundredths of a second
    stranger = subprocess.Popen(sleeper)
    try:
        record = tmp_path / "run" / "sleeper.json"
        forged = record.read_text().replace(str(ours.pid), str(stranger.pid))
        assert recorded(tmp_path, "sleeper") == ours.pid
        assert sweep(tmp_path) == ["sleeper"]
        assert ours.exit_code() is not None
        record.write_text(forged)  # an old record whose number now belongs to somebody else
        time.sleep(0.05)
        assert sweep(tmp_path) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        ours.stop()


def test_given_variables_win_over_the_state_folder(tmp_path, monkeypatch):
    for name in ("DATABASE_URL", "BROKER_URL", "S3_ENDPOINT_URL", "S3_ACCESS_KEY_ID", "SECRET_KEY", "TESSERA_STATE"):
        monkeypatch.delenv(name, raising=False)
    environment.ensure(tmp_path)
    monkeypatch.setenv("S3_ENDPOINT_URL", "https://s3.example.org")
    environment.load(["manage.py", "check", f"--state={tmp_path}"])
    values = environment.read(tmp_path)
    assert os.environ["DATABASE_URL"] == values["DATABASE_URL"]
    assert os.environ["S3_ENDPOINT_URL"] == "https://s3.example.org"
    assert "S3_ACCESS_KEY_ID" not in os.environ
    assert environment.is_embedded("DATABASE_URL", values)
    assert not environment.is_embedded("S3_ENDPOINT_URL", values)
