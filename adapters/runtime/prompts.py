"""The prompt a causal language model gets for a text; text only, so that pages may show it too."""

from __future__ import annotations

DEFAULT_TEMPLATE = "{text}\nLabel:"


def prompt_of(text: str, text_pair: str | None = None, template: str = DEFAULT_TEMPLATE) -> str:
    """The prompt for one text: the template with {text} replaced; a pair stands on the next line."""
    return template.replace("{text}", text if text_pair is None else f"{text}\n{text_pair}")
