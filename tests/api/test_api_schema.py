"""The schema says everything without a warning, and web processes stay small."""

import os
import subprocess
import sys
from pathlib import Path

from django.core.management import call_command

from tests.people import People
from tests.world import client

ROOT = Path(__file__).resolve().parent.parent.parent
NO_TORCH = """
import sys
import hub.wsgi
from django.urls import get_resolver
from django.test import Client
web = Client(raise_request_exception=False)
for path in ("/", "/api/v1/repos", "/api/v1/methods", "/api/v1/evaluations", "/api/v1/schema", "/api/models",
             "/api/v1/compare?left=a/b&right=c/d", "/models", "/tasks", "/jobs", "/merge", "/evaluations", "/accounts/login/"):
    web.get(path, headers={"host": "localhost"})
web.post("/api/v1/recipes/lint", {"recipe": {"merge_method": "ties", "inputs": ["a/b", "c/d"]}}, content_type="application/json", headers={"host": "localhost"})
heavy = sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "transformers", "peft", "pandas", "sklearn", "scipy"})
assert not heavy, heavy
"""


def test_the_schema_has_no_warnings(tmp_path: Path) -> None:
    file = tmp_path / "schema.yml"
    call_command("spectacular", "--fail-on-warn", "--validate", "--file", str(file))
    assert file.read_text().count("operationId") > 80


def test_the_schema_is_served(people: People) -> None:
    answer = client().get("/api/v1/schema?format=json")
    assert answer.status_code == 200
    assert "/api/v1/repos/{owner}/{name}/commit" in answer.json()["paths"]
    page = client().get("/api/v1/docs")
    html = page.content.decode()
    assert "<style" not in html
    assert "<script>" not in html
    assert "http://" not in html.replace("http://testserver", "")


def test_web_processes_never_import_torch(db: None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
