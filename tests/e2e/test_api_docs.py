"""The API's page in a browser: it shows every address under our content policy, and asks no other host."""

from playwright.sync_api import Browser, expect

from tests.services import LiveHub


def test_the_docs_page_works_under_our_content_policy(live_hub: LiveHub, browser: Browser) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]) if request.url.startswith("http") else None)
    page.goto(f"{live_hub.url}/api/v1/docs")
    expect(page.get_by_role("heading", name="Tessera")).to_be_visible()
    expect(page.locator(".opblock-summary-path", has_text="/api/v1/me").first).to_be_visible(timeout=30_000)
    expect(page.locator(".opblock-summary-path", has_text="/api/v1/merges").first).to_be_visible(timeout=30_000)
    page.close()
    assert complaints == []
    assert hosts == {live_hub.url.removeprefix("http://")}
