"""The API's page in a browser: it shows every address under our content policy, and asks no other host."""

from playwright.sync_api import Browser, Page, expect

from tests.services import LiveHub


def scroll_to(page: Page, path: str) -> None:
    """Scroll until an operation is shown: the page draws only those near the window."""
    shown = page.locator(".opblock-summary-path").get_by_text(path, exact=True).first
    for _ in range(80):
        if shown.is_visible():
            return
        page.mouse.wheel(0, 500)
        page.wait_for_timeout(100)
    expect(shown).to_be_visible()


def test_the_docs_page_works_under_our_content_policy(live_hub: LiveHub, browser: Browser) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]) if request.url.startswith("http") else None)
    page.goto(f"{live_hub.url}/api/v1/docs")
    expect(page.get_by_role("heading", name="Tessera")).to_be_visible()
    for path in ("/api/v1/accounts/{account}", "/api/v1/me", "/api/v1/merges", "/v1/chat/completions"):
        scroll_to(page, path)
    page.close()
    assert complaints == []
    assert hosts == {live_hub.url.removeprefix("http://")}
