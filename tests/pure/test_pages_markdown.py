"""Cards are written by strangers: nothing in one may run, load from elsewhere or leave its box."""

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.pages.markdown import MAX_CHARACTERS, highlight, render

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#x6A;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](vbscript:msgbox(1))",
    "[x](file:///etc/passwd)",
    "<javascript:alert(1)>",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+)",
    "![x](https://evil.example/pixel.png)",
    "![x](//evil.example/pixel.png)",
    "![x](/\\evil.example/pixel.png)",
    "![x](\\\\evil.example/pixel.png)",
    "![x](https:evil.example/pixel.png)",
    "![x](%2F%2Fevil.example/pixel.png)",
    '[x](/a "onmouseover=alert(1)")',
    '![x" onerror="alert(1)](a.png)',
    "```html\n<script>alert(1)</script>\n```",
    '``` "><script>alert(1)</script>\ncode\n```',
    "```python onload=alert(1)\nx\n```",
    "| a |\n|---|\n| <script>alert(1)</script> |",
    "x[^1]\n\n[^1]: <img src=x onerror=alert(1)>",
    "x[^<script>]\n\n[^<script>]: y",
    "# <script>alert(1)</script>",
    "- [x] <img src=x onerror=alert(1)>",
    "<form action=//evil.example><button>Sign in</button></form>",
    "<style>body{display:none}</style>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "http://x.example/<script>alert(1)</script>",
    "[![x](https://evil.example/b.svg)](https://evil.example)",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "\u0000<script>alert(1)</script>",
]
ALLOWED_ATTRIBUTES = {
    "href", "title", "rel", "id", "class", "src", "alt", "start", "align", "type", "checked", "disabled", "aria-label",
}  # fmt: skip


FORBIDDEN_TAGS = frozenset("script style iframe svg math form button base meta object link".split())
OUR_CLASSES = re.compile(r"((tok-|footnote|task-list|contains-task-list|image-left-out)[a-z-]*\s?)+")


class Inspector(HTMLParser):
    """Fails on any tag, attribute or address that a browser could act on."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in FORBIDDEN_TAGS
        for name, value in attrs:
            assert name in ALLOWED_ATTRIBUTES, (tag, name)
            if name == "href":
                assert re.match(r"(https?:|mailto:|#card-|/|[^:]*$)", value or "", re.IGNORECASE), value
            if name == "src":
                assert re.match(r"(?![/\\]{2})[^:\\\s]*$", value or ""), value
            if name == "class":
                assert OUR_CLASSES.fullmatch(value or ""), value


def inspect(html: str) -> None:
    """Parse and judge."""
    inspector = Inspector()
    inspector.feed(html)
    inspector.close()


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("address", ["", "/alice/x@main"])
def test_hostile_card_is_harmless(text: str, address: str) -> None:
    inspect(render(text, address=address))


@given(st.lists(st.sampled_from(HOSTILE) | st.text(max_size=20), max_size=6))
def test_hostile_pieces_together_are_harmless(pieces: list[str]) -> None:
    inspect(render("".join(pieces), address="/alice/x@main"))
    inspect(render("\n\n".join(pieces)))


def test_foreign_image_becomes_a_link_the_reader_may_follow() -> None:
    html = render("![chart](https://elsewhere.example/c.png)")
    assert "<img" not in html
    assert 'href="https://elsewhere.example/c.png"' in html
    assert ">chart</a>" in html


def test_links_carry_nofollow() -> None:
    assert 'rel="nofollow ugc noopener"' in render("[x](https://a.example)")


def test_relative_addresses_stay_inside_the_repo_and_its_revision() -> None:
    html = render("[c](./a/config.json#L3) ![p](../../img/a b.png) ![q](<img/a b.png>)", address="/alice/x@refs/pr/1")
    assert 'href="/alice/x/blob/refs%2Fpr%2F1/a/config.json#L3"' in html
    assert 'src="/alice/x/resolve/refs%2Fpr%2F1/img/a%20b.png"' in html
    assert "/../" not in render("[c](../../../etc)", address="/alice/x")


def test_headings_are_demoted_and_prefixed() -> None:
    html = render("# One\n\n## Two\n\n###### Six\n\n[jump](#one)")
    assert '<h2 id="card-one">One</h2>' in html
    assert '<h3 id="card-two">' in html
    assert '<h6 id="card-six">' in html
    assert 'href="#card-one"' in html
    assert "<h1" not in html


def test_front_matter_is_not_shown() -> None:
    assert render("---\nlicense: mit\n---\nHello").strip() == "<p>Hello</p>"


def test_tables_tasks_footnotes_and_code() -> None:
    html = render("| a | b |\n|:-|-:|\n| 1 | 2 |\n\n- [x] done\n\nx[^1]\n\n[^1]: note\n\n```python\ndef f(): ...\n```")
    assert '<td align="right">2</td>' in html
    assert "style=" not in html
    assert 'type="checkbox"' in html
    assert "disabled" in html
    assert 'id="card-fn1"' in html
    assert '<span class="tok-keyword">def</span>' in html


def test_highlight_keeps_every_letter() -> None:
    code = 'if a < b & c:\n    print("<b>")\n'
    assert (
        re.sub(r"<[^>]+>", "", highlight(code, "python"))
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", '"')
        .replace("&amp;", "&")
        == code
    )
    assert highlight("<x>", "no-such-language") == "&lt;x&gt;"


@pytest.mark.parametrize(
    "piece", ["[", "(", "> ", "*a_", "![", "<a ", "`" * 9 + " ", "|a" * 20 + "\n", "[^1]", "- " * 9]
)
def test_long_and_twisted_cards_end_in_time_and_say_that_they_were_cut(piece: str) -> None:
    text = (piece * (60_000 // len(piece) + 1))[:60_000]
    started = time.process_time()
    inspect(render(text))
    assert time.process_time() - started < 10
    if piece.startswith("["):
        assert "too long to show" in render("a\n" * MAX_CHARACTERS)
