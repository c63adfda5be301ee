"""Every page fits a phone, logs no error and breaks no rule of accessibility (axe-core), in light and dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import PASSWORD
from tests.services import LiveHub


@pytest.mark.parametrize("address", ["/", "/browse", "/tasks", "/lab/first", "/datasets/lab/moods", "/jobs", "/review",
                                     "/evaluations", "/lab", "/lab/first/tree/main", "/lab/first/commits/main",
                                     "/lab/first/blob/main/README.md", "/lab/first/refs"])  # fmt: skip
def test_pages_fit_a_phone_and_log_no_errors(page: Page, address: str) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.set_viewport_size({"width": 360, "height": 780})
    answer = page.goto(address)
    assert answer is not None
    assert answer.status == 200
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert said == []


@pytest.fixture(scope="module")
def signed_in(browser: Browser, live_hub: LiveHub, content: object) -> dict:
    """The cookies of the lab's own session: its pages also show what one may do there."""
    page = browser.new_context(base_url=live_hub.url).new_page()
    page.goto("/accounts/login/")
    page.fill("input[name=login]", "lab")
    page.fill("input[name=password]", PASSWORD)
    page.locator("main form button").first.click()
    page.wait_for_url("/")
    return dict(page.context.storage_state())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "addresses",
    [("/", "/browse", "/tasks", "/systems", "/leaderboards", "/map", "/compare", "/advice", "/ask"),
     ("/teach", "/merge", "/merge/recipe", "/merge/compare", "/merge/gallery", "/merge/methods", "/merge/statistics", "/evaluations"),
     ("/lab", "/lab/first", "/lab/first/tree/main", "/lab/first/commits/main", "/lab/first/tensors/main",
      "/lab/first/lineage", "/lab/first/relatives", "/lab/first/settings", "/lab/first/refs", "/lab/first/duplicate", "/datasets/lab/moods", "/lab/tiny", "/lab/tiny/update",
      "/lab/first/blob/main/README.md", "/lab/first/edit/main/README.md", "/lab/first/remove/main/README.md"),
     ("/new", "/lab/first/discussions/new", "/suites", "/evaluate", "/review/rules", "/review", "/notices", "/jobs", "/settings/tokens", "/settings/organisations", "/settings/access", "/settings/webhooks", "/collections", "/lab/first/discussions/1")],
)  # fmt: skip
def test_pages_are_accessible(
    browser: Browser, live_hub: LiveHub, signed_in: dict, addresses: tuple[str, ...], scheme: str
) -> None:
    # our content policy would refuse the script that looks at the page
    context = browser.new_context(base_url=live_hub.url, storage_state=signed_in, color_scheme=scheme, bypass_csp=True)
    page, found = context.new_page(), {}
    for address in addresses:
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        report = Axe().run(page, options={"resultTypes": ["violations"]})
        for rule in report.response["violations"]:
            found[address, rule["id"]] = [node["html"][:200] for node in rule["nodes"]]
    context.close()
    assert found == {}


def test_a_tick_takes_the_other_counts_along(browser: Browser, live_hub: LiveHub, signed_in: dict) -> None:
    page = browser.new_context(base_url=live_hub.url, storage_state=signed_in).new_page()
    page.goto("/browse")
    tasks = page.locator('label:has(input[value="task"])')
    expect(tasks).to_be_visible()
    method = page.locator('input[name="method"][value="lora"]')
    method.focus()
    method.press("Space")
    page.wait_for_url("**/browse?method=lora")
    expect(tasks).to_have_count(0)
    expect(method).to_be_checked()
    expect(method).to_be_focused()
    page.get_by_role("link", name="Clear filters").click()
    expect(tasks).to_be_visible()


def test_trying_an_adapter_stays_on_its_page(browser: Browser, live_hub: LiveHub, signed_in: dict) -> None:
    page = browser.new_context(base_url=live_hub.url, storage_state=signed_in).new_page()
    page.goto("/lab/first")
    page.get_by_role("link", name="Use", exact=True).click()
    page.wait_for_url("/lab/first#use")
    page.fill("#texts", "What a day")
    page.locator("main").get_by_role("button", name="Ask").click()
    expect(page.locator("#answers")).not_to_be_empty()
    expect(page).to_have_title("lab/first · Tessera")


def test_files_are_sent_from_each_name_of_the_machine(browser: Browser, live_hub: LiveHub, content: object) -> None:
    page = browser.new_context(base_url=live_hub.url.replace("127.0.0.1", "localhost")).new_page()
    page.goto("/accounts/login/?next=/new")
    page.fill("input[name=login]", "lab")
    page.fill("input[name=password]", PASSWORD)
    page.locator("main form button").first.click()
    page.wait_for_url("**/new")
    page.fill("#name", "from-localhost")
    page.get_by_role("button", name="Create repo").click()
    page.wait_for_url("**/upload")
    page.set_input_files("#upload-files", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"1" * 50_000})
    page.get_by_role("button", name="Upload and commit").click()
    page.wait_for_url("**/lab/from-localhost")


def test_a_file_is_written_with_its_preview_beside_it(browser: Browser, live_hub: LiveHub, signed_in: dict) -> None:
    page = browser.new_context(base_url=live_hub.url, storage_state=signed_in).new_page()
    page.goto("/lab/first/tree/main")
    page.get_by_role("link", name="Write a file").click()
    page.fill("#path", "notes.md")
    page.fill("#text", "# Notes\n\nWhat was **tried**.")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("/lab/first/blob/main/notes.md")
    page.get_by_role("link", name="Edit").click()
    expect(page.locator("#preview strong")).to_have_text("tried")
    page.fill("#text", "# Notes\n\nWhat was *kept*.")
    expect(page.locator("#preview em")).to_have_text("kept")
    page.once("dialog", lambda dialog: dialog.dismiss())  # leaving with something typed is asked about
    page.evaluate("() => { location.href = '/lab' }")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("/lab/first/blob/main/notes.md")
    expect(page.locator("main")).to_contain_text("What was *kept*.")
