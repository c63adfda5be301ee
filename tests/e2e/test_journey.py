"""One person's way through the hub: sign up, publish, look, merge, evaluate; and a maintainer's decision."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import CARD, PASSWORD
from tests.services import LiveHub

JOB_SECONDS = 180_000


def test_publish_merge_evaluate_review(page: Page, browser: Browser, live_hub: LiveHub, content: Path) -> None:
    page.goto("/accounts/signup/")
    page.fill("input[name=username]", "dora")
    page.fill("input[name=email]", "dora@example.org")
    page.fill("input[name=password1]", PASSWORD)
    page.fill("input[name=password2]", PASSWORD)
    page.locator("main form button").first.click()
    page.wait_for_url("/")

    page.goto("/new")
    page.fill("#name", "second")
    page.get_by_role("button", name="Create repo").click()
    page.wait_for_url("/dora/second/upload")
    page.set_input_files("#upload-files", [path for path in (content / "second").iterdir() if path.is_file()])
    page.get_by_role("button", name="Upload and commit").click()
    page.wait_for_url("/dora/second")
    notes = content / "NOTES.md"
    notes.write_text("Sent by a plain form.\n")
    without_script(browser, page, live_hub, notes)

    page.goto("/dora/second")
    expect(page.locator(".prose")).to_contain_text("A mood specialist")
    # the page looks again by itself until the inspection is done
    expect(page.locator(".checks", has_text="fits base")).to_have_count(1, timeout=JOB_SECONDS)
    expect(page.locator(".facts")).to_contain_text("LoRA")
    expect(page.locator("aside")).to_contain_text("lab/tiny")

    page.goto("/merge?input=dora/second&input=lab/first")
    page.select_option("#merge_method", "ties")
    page.fill("#target", "dora/both")
    page.get_by_role("button", name="Merge", exact=True).click()
    page.wait_for_url(re.compile("/jobs/"))
    expect(page.get_by_role("link", name="Open the result")).to_be_visible(timeout=JOB_SECONDS)
    page.get_by_role("link", name="Open the result").click()
    page.wait_for_url("/dora/both")
    expect(page.locator("aside")).to_contain_text("lab/first")

    page.goto("/evaluate?subject=dora/both&task=lab/moods")
    page.locator("main form").get_by_role("button", name="Evaluate").click()
    page.wait_for_url(re.compile("/jobs/"))
    expect(page.get_by_role("link", name="Open the result")).to_be_visible(timeout=JOB_SECONDS)
    page.get_by_role("link", name="Open the result").click()
    expect(page.locator("main")).to_contain_text("n = 24")

    page.goto("/lab/first/discussions/new")
    page.fill("#title", "A clearer card")
    page.fill("#description", "Says more.")
    card = {"name": "README.md", "mimeType": "text/markdown", "buffer": (CARD + "More.\n").encode()}
    page.set_input_files("#files", card)
    page.get_by_role("button", name="Send").click()
    page.wait_for_url(re.compile("/discussions/2"))
    assert page.get_by_role("button", name="Approve").count() == 0

    live_hub.create_account("mary-maintains", role="maintainer", password=PASSWORD)
    maintainer = browser.new_context(base_url=live_hub.url).new_page()
    maintainer.goto("/accounts/login/?next=/review")
    maintainer.fill("input[name=login]", "mary-maintains")
    maintainer.fill("input[name=password]", PASSWORD)
    maintainer.locator("main form button").first.click()
    maintainer.wait_for_url("**/review")
    maintainer.get_by_role("link", name="A clearer card").click()
    maintainer.get_by_role("button", name="Approve").click()
    expect(maintainer.locator("main")).to_contain_text("Merged")
    maintainer.goto("/lab/first")
    expect(maintainer.locator(".prose")).to_contain_text("More.")


def without_script(browser: Browser, page: Page, live_hub: LiveHub, file: Path) -> None:
    """Send a file by the plain form, as a browser without JavaScript does."""
    plain = browser.new_context(
        base_url=live_hub.url, java_script_enabled=False, storage_state=page.context.storage_state()
    ).new_page()
    plain.goto("/dora/second/upload")
    plain.set_input_files("main input[type=file]", file)
    plain.locator("main form button:visible").last.click()
    plain.wait_for_url("/dora/second")
    plain.goto("/dora/second/tree/main")
    expect(plain.locator("main")).to_contain_text("adapter_model.safetensors")
    expect(plain.locator("main")).to_contain_text(file.name)
