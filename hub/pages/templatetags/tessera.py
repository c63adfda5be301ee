"""Tags and filters of all templates (a builtin library: no `{% load %}` needed). `units` and `drawings` do the work."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import Any, NamedTuple

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from hub.pages import drawings, units
from hub.pages.markdown import highlight as highlighted
from hub.pages.markdown import render
from hub.pages.middleware import public_url

register = template.Library()


class State(NamedTuple):
    """How a state looks: a tone (colour), an icon (shape) and its word."""

    tone: str
    icon: str
    word: str


STATES: dict[str, State] = {
    "pass": State("pass", "circle-check", "Pass"),
    "warn": State("warn", "triangle-alert", "Warning"),
    "fail": State("fail", "circle-x", "Fail"),
    "pending": State("idle", "circle-dashed", "Pending"),
    "skipped": State("idle", "circle-slash", "Skipped"),
    "queued": State("idle", "circle-dashed", "Queued"),
    "running": State("busy", "loader-circle", "Running"),
    "succeeded": State("pass", "circle-check", "Done"),
    "failed": State("fail", "circle-x", "Failed"),
    "cancelled": State("idle", "ban", "Cancelled"),
    "draft": State("idle", "circle-dashed", "Draft"),
    "discussion": State("busy", "message-square", "Discussion"),
    "open": State("busy", "git-pull-request", "Open"),
    "approve": State("pass", "circle-check", "Approved"),
    "request_changes": State("warn", "message-square", "Changes requested"),
    "request_info": State("warn", "message-square", "Asked"),
    "reject": State("fail", "circle-x", "Rejected"),
    "merged": State("pass", "git-merge", "Merged"),
    "closed": State("idle", "circle-minus", "Closed"),
    "added": State("pass", "circle-plus", "Added"),
    "removed": State("fail", "circle-minus", "Removed"),
    "changed": State("warn", "circle-dot", "Changed"),
    "reshaped": State("warn", "circle-dot", "Reshaped"),
    "cast": State("warn", "circle-dot", "Cast"),
    "renamed": State("idle", "arrow-right", "Renamed"),
    "equivalent": State("pass", "circle-check", "Same effect"),
    "unchanged": State("idle", "circle-dashed", "Unchanged"),
    "private": State("idle", "lock", "Private"),
}
KINDS = {"base": "Base", "adapter": "Adapter", "task": "Task", "merge": "Merge", "system": "System"}
SOURCES = {
    "measured": ("ruler", "measured from the bytes"),
    "computed": ("cpu", "computed by a job"),
    "claimed": ("quote", "claimed by the author"),
}


def _number_filter(name: str, write: Callable[..., str]) -> None:
    """Register a writer of numbers; what a template does not know (an empty string) is written as a dash."""

    @wraps(write)  # Django counts a filter's arguments on the function it wraps
    def show(value: Any, *arguments: Any) -> str:
        return write(None if value == "" else value, *arguments)

    register.filter(name, show)


for _name in ("filesize", "compact", "thousands", "percent", "share", "significant", "signed", "duration", "decimals"):
    _number_filter(_name, getattr(units, _name))


@register.simple_tag
def icon(name: str, label: str = "", css: str = "") -> SafeString:
    """An icon of the sprite. Without a label it is decoration and hidden from screen readers."""
    spoken = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    return format_html(
        '<svg class="icon{}" {}><use href="{}#{}"/></svg>',
        f" {css}" if css else "",
        spoken,
        static("icons/sprite.svg"),
        name,
    )


@register.filter
def spaced(name: str) -> str:
    """A name of the code in words: no_regression is "no regression"."""
    return name.replace("_", " ")


@register.filter
def state_word(state: str) -> str:
    """The word that a state's chip has, for a sentence or a filter."""
    return STATES[state].word.lower()


@register.simple_tag
def verdict(state: str, word: str = "") -> SafeString:
    """A chip for a state of a check, job, change request, decision or tensor; `word` replaces its usual word."""
    look = STATES.get(str(state).lower(), State("idle", "circle-dot", str(state).capitalize()))
    return format_html('<span class="chip chip-{}">{}{}</span>', look.tone, icon(look.icon), word or look.word)


@register.simple_tag
def verdict_icon(state: str) -> SafeString:
    """Only the shape of a state, with its word for screen readers."""
    look = STATES.get(str(state).lower(), State("idle", "circle-dot", str(state).capitalize()))
    return icon(look.icon, look.word, f"tone-{look.tone}")


@register.simple_tag
def kind(name: str, word: bool = True) -> SafeString:
    """The mark of a repo's kind (base, adapter, task; merge for an adapter that a merge made)."""
    title = KINDS.get(name, name.capitalize())
    if word:
        return format_html('<span class="kind kind-{}">{}{}</span>', name, icon(f"kind-{name}"), title)
    return format_html('<span class="kind kind-{}" title="{}">{}</span>', name, title, icon(f"kind-{name}", title))


@register.simple_tag
def source(name: str, href: str = "") -> SafeString:
    """Where a fact comes from: measured, computed (linked to its job by `href`) or claimed. Shape, word and colour."""
    glyph, words = SOURCES[name]
    body = format_html('{}<span class="visually-hidden">{}</span>', icon(glyph), words)
    if href:
        return format_html('<a class="source source-{}" title="{}" href="{}">{}</a>', name, words, href, body)
    return format_html('<span class="source source-{}" title="{}">{}</span>', name, words, body)


@register.simple_tag
def source_legend() -> SafeString:
    """One line that explains the three marks."""
    parts = [
        format_html('<span class="source source-{}">{}{}</span>', name, icon(glyph), words)
        for name, (glyph, words) in SOURCES.items()
    ]
    return format_html('<p class="legend">{}</p>', mark_safe("".join(parts)))  # noqa: S308  # each part is escaped above


@register.filter
def branch(ref: str) -> str:
    """The name people use of a ref: main of refs/heads/main."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


@register.filter
def relative_time(when: datetime | str | None) -> SafeString:
    """A `<time>` that says how long ago, with the exact moment as its title."""
    if not when:
        return SafeString(units.DASH)
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    moment = when if timezone.is_aware(when) else when.replace(tzinfo=UTC)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(timespec="seconds"),
        moment.astimezone(UTC).strftime("%-d %B %Y, %H:%M UTC"),
        units.relative(moment, timezone.now()),
    )


@register.filter
def short_sha(sha: str | None) -> str:
    """The first seven letters of a commit id."""
    return (sha or "")[:7]


@register.filter
def markdown(text: str | None, address: str = "") -> SafeString:
    """A card or comment as safe HTML. `address` is the repo's page at a revision, for relative links and images."""
    own = (text or "").replace(public_url("/uploads/"), "/uploads/")  # pictures of this site may be named in full
    return mark_safe(render(own, address=address))  # noqa: S308  # nh3 has cleaned it


@register.simple_tag
def highlight(code: str, language: str = "") -> SafeString:
    """Code with a class per kind of token, for a `<pre><code>`."""
    return mark_safe(highlighted(code, language))  # noqa: S308  # every token is escaped


@register.simple_tag
def avatar(name: str, size: int = 24) -> SafeString:
    """Initials on a tile."""
    return drawings.avatar(str(name), size)


@register.simple_tag
def score_line(
    value: float, low: Any = None, high: Any = None, baseline: Any = None, minimum: Any = None
) -> SafeString:
    """The interval drawing of `components/score_cell.html`; the rail goes from `minimum` (0 unless told) to 1."""
    known = [None if number == "" else number for number in (low, high, baseline, minimum)]
    return drawings.score(value, known[0], known[1], baseline=known[2], minimum=known[3] or 0.0)


@register.simple_tag
def heat_strip(cells: Sequence[tuple[str, float]], columns: int = 24) -> SafeString:
    """Tiles, darker where more changed; `cells` are (name, value)."""
    return drawings.heat_strip(cells, columns=columns)


@register.simple_tag
def bar(share: float) -> SafeString:
    """A horizontal bar of `share` of its cell."""
    return drawings.bar(share)
