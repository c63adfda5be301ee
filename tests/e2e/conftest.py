"""A browser (Debian's Chromium; without one these tests are skipped, unless REQUIRE_BROWSER=1) and a hub with content."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from playwright.sync_api import Browser, Page, sync_playwright

from merges.training.settings import Settings
from merges.training.teach import teach
from tests.pure.tiny_models import opinions, write_encoder
from tests.services import LiveHub

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PASSWORD = "correct horse battery"
TASK_CARD = (
    "---\ntype: text-classification\nlabels: [no, yes]\nmetric: accuracy\nlicense: mit\nlanguage: en\n---\n# Moods\n"
)
CARD = "---\nbase_model: lab/tiny\nlicense: mit\ndatasets: [lab/moods]\nlanguage: en\n---\n# A mood specialist\n"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("Chromium is not installed, and REQUIRE_BROWSER says that these tests are mandatory.")
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium).")
    # Playwright's event loop would make Django refuse its ORM in this thread; nothing here awaits.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def content(live_hub: LiveHub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a task and one adapter of the lab's, published by the real client, and a change request; another adapter on disk."""
    place = tmp_path_factory.mktemp("e2e")
    token = live_hub.create_account("lab", password=PASSWORD)
    base = write_encoder(place / "tiny")
    task = place / "moods"
    task.mkdir()
    (task / "README.md").write_text(TASK_CARD)
    for split, rows in (("train", opinions(48)), ("test", opinions(24, start=48))):
        # a text in both splits would be found, and the change request below would need two maintainers
        lines = [json.dumps({"text": f"{split} {row.text}", "label": row.label}) for row in rows]
        (task / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    api = HfApi(endpoint=live_hub.url, token=token)
    for name, seed in (("first", 1), ("second", 2)):
        teach(base, opinions(48), Settings(epochs=3, seed=seed), place / name, base_name="lab/tiny")
        (place / name / "README.md").write_text(CARD)
    for name, folder, kind in (
        ("tiny", base, "model"),
        ("moods", task, "dataset"),
        ("first", place / "first", "model"),
    ):
        api.create_repo(f"lab/{name}", repo_type=kind)
        api.upload_folder(repo_id=f"lab/{name}", folder_path=folder, repo_type=kind)
    api.upload_folder(repo_id="lab/first", folder_path=place / "second", commit_message="Trained again", create_pr=True)
    return place


@pytest.fixture
def page(browser: Browser, live_hub: LiveHub, content: Path) -> Page:
    context = browser.new_context(base_url=live_hub.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    return page
