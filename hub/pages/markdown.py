"""Cards and comments: markdown in, safe HTML out. Knows no request, no settings and no database.

Raw HTML is off in the parser, and what the parser makes is cleaned once more by nh3 against a short list of tags.
Links carry `nofollow ugc`; images come from the repo or this site, never from elsewhere (no tracking pixels).
"""

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from mdit_py_plugins.anchors import anchors_plugin
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.front_matter import front_matter_plugin
from mdit_py_plugins.tasklists import tasklists_plugin
from pygments import lex
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Generic, Keyword, Name, Number, String
from pygments.util import ClassNotFound

MAX_CHARACTERS = 100_000
MAX_HIGHLIGHTED = 20_000
ID_PREFIX = "card-"
_SCHEMES = {"http", "https", "mailto"}
_CLASSES = re.compile(r"tok-[a-z]+|footnote[a-z-]*|(contains-)?task-list(-item)?|image-left-out")
_TAGS = {
    "p", "br", "hr", "h2", "h3", "h4", "h5", "h6", "a", "img", "em", "strong", "s", "code", "pre", "span", "blockquote",
    "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "sup", "section", "input",
}  # fmt: skip
_ATTRIBUTES = {
    "a": {"href", "title", "id", "class"}, "img": {"src", "alt", "title"}, "code": {"class"}, "span": {"class"},
    "h2": {"id"}, "h3": {"id"}, "h4": {"id"}, "h5": {"id"}, "h6": {"id"}, "ol": {"start", "class"}, "ul": {"class"},
    "li": {"class", "id"}, "th": {"align"}, "td": {"align"}, "sup": {"class"}, "section": {"class"}, "hr": {"class"},
    "input": {"type", "checked"},
}  # fmt: skip
_COLOURS = (
    (Comment, "comment"), (Keyword, "keyword"), (String, "string"), (Number, "number"), (Name.Function, "name"),
    (Name.Class, "name"), (Name.Tag, "name"), (Name.Attribute, "name"), (Name.Builtin, "name"),
    (Name.Decorator, "meta"), (Generic.Deleted, "removed"), (Generic.Inserted, "added"), (Generic.Heading, "meta"),
    (Generic.Prompt, "comment"),
)  # fmt: skip


def render(text: str, *, address: str = "") -> str:
    """Safe HTML of a card or comment.

    `address` is where relative links lead: a repo's page such as `/alice/x`, or with a revision `/alice/x@4f2a9c1`.
    Relative links become `…/blob/REVISION/path`, relative images `…/resolve/REVISION/path`. Text beyond
    MAX_CHARACTERS is left out, and the page says so.
    """
    cut = len(text) > MAX_CHARACTERS
    raw = _PARSER.render(text[:MAX_CHARACTERS], {"address": address})
    safe = nh3.clean(
        raw,
        tags=_TAGS,
        clean_content_tags={"script", "style"},
        attributes=_ATTRIBUTES,
        attribute_filter=_keep,
        set_tag_attribute_values={"input": {"type": "checkbox", "disabled": "", "aria-label": "done"}},
        url_schemes=_SCHEMES,
        link_rel="nofollow ugc noopener",
    )
    return safe + (
        "<p><em>The rest of this text is too long to show here; read it in the file.</em></p>" if cut else ""
    )


def highlight(code: str, language: str) -> str:
    """Code with one class per kind of token (`tok-…`), escaped; plain when the language is unknown or the code long."""
    escaped = _escape(code)
    if not language or len(code) > MAX_HIGHLIGHTED:
        return escaped
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return escaped
    parts: list[str] = []
    for kind, value in lex(code, lexer):
        colour = next((name for family, name in _COLOURS if kind in family), "")
        parts.append(f'<span class="tok-{colour}">{_escape(value)}</span>' if colour else _escape(value))
    return "".join(parts)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _keep(tag: str, name: str, value: str) -> str | None:
    """The last word on each attribute: known classes only, ids and jumps within the page under our prefix."""
    if name == "class":
        return " ".join(word for word in value.split() if _CLASSES.fullmatch(word)) or None
    if name == "id":
        return ID_PREFIX + value
    if tag == "a" and name == "href" and value.startswith("#"):
        return "#" + ID_PREFIX + value[1:]
    if tag == "img" and name == "src" and not _is_local(value):
        return None
    return value


def _is_local(url: str) -> bool:
    """True for an address on this site: no scheme, no host, and nothing a browser would read as one."""
    if any(ord(letter) <= 32 or letter == "\\" for letter in url) or url.startswith("//"):
        return False
    parts = urlsplit(url)
    return not parts.scheme and not parts.netloc


def _within(url: str, address: str, door: str) -> str:
    """A relative path inside the repo as an address of this site; everything else unchanged."""
    if not url or not _is_local(url) or url[0] in "/#?" or not address:
        return url
    path, mark, fragment = url.partition("#")
    steps: list[str] = []
    for step in unquote(path).split("/"):
        if step == "..":
            del steps[-1:]
        elif step not in ("", "."):
            steps.append(step)
    repo, _, revision = address.partition("@")
    return f"{repo}/{door}/{quote(revision or 'main', safe='')}/{quote('/'.join(steps))}{mark}{fragment}"


def _place(state: StateCore) -> None:
    """One walk over the tokens: demote headings, resolve addresses, drop foreign images for their alternative text."""
    address = str(state.env.get("address", ""))
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"
        for child in token.children or ():
            if child.type == "link_open":
                child.attrs["href"] = _within(str(child.attrs.get("href", "")), address, "blob")
            elif child.type == "image":
                child.attrs["src"] = _within(str(child.attrs.get("src", "")), address, "resolve")


def _image(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    """An image of ours, or for a foreign one a link to it: the reader decides whether to fetch it."""
    token = tokens[index]
    url = str(token.attrs.get("src", ""))
    if _is_local(url):
        return self.image(tokens, index, options, env)
    words = self.renderInlineAsText(token.children or [], options, env) or "image"
    depth = sum({"link_open": 1, "link_close": -1}.get(before.type, 0) for before in tokens[:index])
    if depth:
        return _escape(words)
    return f'<a class="image-left-out" href="{_escape(url)}">{_escape(words)}</a>'


def _align(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    """Table cells say `align`, because a style attribute would not pass the content security policy."""
    token = tokens[index]
    style = str(token.attrs.pop("style", ""))
    if style.startswith("text-align:"):
        token.attrs["align"] = style.removeprefix("text-align:").strip()
    return self.renderToken(tokens, index, options, env)


def _fence(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType) -> str:
    """A block of code, coloured by token; the language's name never reaches the page."""
    token = tokens[index]
    words = token.info.split()
    return f"<pre><code>{highlight(token.content, words[0].lower() if words else '')}</code></pre>\n"


def _slug(title: str) -> str:
    return re.sub(r"[^\w]+", "-", title.lower()).strip("-")[:80] or "section"


def _parser() -> MarkdownIt:
    options: dict[str, Any] = {"html": False, "linkify": True, "typographer": False, "maxNesting": 30}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough", "linkify"])
    plugins: list[tuple[Callable[..., None], dict[str, Any]]] = [
        (front_matter_plugin, {}),
        (footnote_plugin, {"inline": False}),
        (tasklists_plugin, {"enabled": False}),
        (anchors_plugin, {"max_level": 6, "slug_func": _slug}),
    ]
    for plugin, arguments in plugins:
        parser.use(plugin, **arguments)
    parser.core.ruler.push("tessera_place", _place)
    for name, rule in {"image": _image, "fence": _fence, "th_open": _align, "td_open": _align}.items():
        parser.add_render_rule(name, rule)
    return parser


_PARSER = _parser()
