"""A repo's card (README.md): checked at the door, its front matter kept as claims."""

from __future__ import annotations

import itertools
import re
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from hub.repos.frontmatter import CardError, parse_card
from hub.repos.models import Repo
from hub.repos.policy import Candidate, Refused

MAX_LEAD, MOST_READ = 300, 20_000
_TASK_PARTS: tuple[str, ...] = (
    "What a model is asked, and who needs the answer.", "## Where the examples come from", "## What is hard about it",
)  # fmt: skip
_MODEL_PARTS: tuple[str, ...] = (
    "What it does, and for whom.", "## What it was trained on", "## How well it works", "## What it is not for",
)  # fmt: skip
_markdown = MarkdownIt("commonmark", {"html": True})


def check(path: str, candidate: Candidate) -> None:
    """Refuse a card that is not UTF-8 or whose front matter cannot be read. Raises Refused with the rule's code."""
    try:
        parse_card(candidate.read(0, candidate.size))
    except CardError as error:
        raise Refused(path, error.message, code=error.code) from error


def front_matter(data: bytes) -> dict[str, Any]:
    """The claims of a card; empty for one that cannot be read."""
    try:
        return parse_card(data)[0]
    except CardError:
        return {}


def lead(data: bytes) -> str:
    """The first paragraph of words of a card as plain text, at most 300 characters: what lists say of the repo."""
    try:
        body = parse_card(data)[1]
    except CardError:
        return ""
    tokens = _markdown.parse(body[:MOST_READ])
    for before, token in itertools.pairwise(tokens):
        if before.type != "paragraph_open" or before.level:
            continue
        parts = (" " if part.type.endswith("break") else part.content for part in token.children or [] if _spoken(part))
        text = " ".join("".join(parts).split())
        if re.search(r"\w", text):
            return text if len(text) <= MAX_LEAD else text[: MAX_LEAD - 1].rsplit(" ", 1)[0] + "…"
    return ""


def _spoken(part: Token) -> bool:
    return part.type in ("text", "code_inline", "softbreak", "hardbreak")


def skeleton(repo: Repo) -> str:
    """A card to begin with: the front matter that search and checks read, and what a reader wants to know."""
    base = repo.facts.get("base")
    if repo.is_task:
        known, parts = "type: text-classification\nlabels: []\nmetric: accuracy\nlicense: \n", _TASK_PARTS
    else:
        known, parts = f"base_model: {base}\nlicense: \n" if base else "license: \n", _MODEL_PARTS
    return f"---\n{known}---\n\n# {repo.name}\n\n" + "\n\n".join(parts) + "\n"
