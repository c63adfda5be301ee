"""README.md front matter, read so that no card can cost much: aliases refused, size, depth and number of nodes bounded.

Front matter is YAML between two `---` lines. Only null, true/false, whole and decimal numbers, text, lists and maps
exist here: dates stay text, `no` is the language Norwegian and not false, and there are no tags and no merges.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode

MAX_CARD_BYTES = 1024 * 1024
MAX_FRONT_BYTES = 64 * 1024
MAX_DEPTH = 16
MAX_NODES = 5_000


class CardError(ValueError):
    """A card broke a rule. `code` names the rule, `message` says what is wrong and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:\r?\n|(?<=\n))---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def parse_card(data: bytes) -> tuple[dict[str, Any], str]:
    """Front matter as a JSON-able dict (empty when there is none) and the Markdown body.

    Raises CardError: `card_too_large`, `card_not_utf8`, `front_too_large`, `front_alias`, `front_too_deep`,
    `front_too_many`, `front_key`, `front_invalid`.
    """
    if len(data) > MAX_CARD_BYTES:
        raise CardError(
            "card_too_large", f"README.md is {len(data):,} bytes; at most {MAX_CARD_BYTES:,} are accepted. Shorten it."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CardError(
            "card_not_utf8", f"README.md is not valid UTF-8 (byte {error.start}). Save it as UTF-8."
        ) from None
    match = _FRONT.match(text)
    if match is None:
        if re.match(r"\A\ufeff?---[ \t]*\r?\n", text) and re.match(r"\s*[A-Za-z_]+:", text.lstrip("\ufeff-")):
            raise CardError("front_invalid", "README.md begins with '---' but the closing '---' line is missing.")
        return {}, text
    return parse_front(match.group(1)), text[match.end() :]


def parse_front(text: str) -> dict[str, Any]:
    """YAML front matter without its `---` lines. Raises CardError with the codes of parse_card."""
    value = parse_yaml(text)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CardError("front_invalid", "The front matter must be a list of 'key: value' lines.")
    return value


def parse_yaml(text: str) -> Any:
    """The value of a YAML text, by the same rules. Raises CardError with the codes of parse_card."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_FRONT_BYTES:
        raise CardError(
            "front_too_large", f"The front matter is over {MAX_FRONT_BYTES:,} bytes. Move long text into the body."
        )
    try:
        return yaml.load(text, Loader=_CardLoader)  # noqa: S506 - a SafeLoader with less in it
    except CardError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 2}, column {mark.column + 1}" if mark else ""
        raise CardError("front_invalid", f"The front matter is not valid YAML{place}: {error.problem}.") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise CardError("front_invalid", "The front matter is not valid YAML. Check it with any YAML tool.") from None


class _CardLoader(yaml.SafeLoader):
    """A SafeLoader that counts as it composes, and knows fewer kinds of scalars."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            raise CardError("front_alias", "The front matter uses YAML anchors or aliases (& or *). Write values out.")
        if getattr(event, "tag", None) is not None:
            raise CardError("front_invalid", "The front matter uses YAML tags (!). Write plain values.")
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH:
            raise CardError(
                "front_too_deep", f"The front matter is nested more than {MAX_DEPTH} levels deep. Flatten it."
            )
        if self._nodes > MAX_NODES:
            raise CardError("front_too_many", f"The front matter holds more than {MAX_NODES:,} values. Shorten it.")
        if "\0" in (getattr(event, "value", None) or ""):
            raise CardError("front_invalid", "The front matter holds the letter NUL, which is not text. Remove it.")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_map(self, node: MappingNode) -> dict[str, Any]:
        """A dict whose keys are text, each once."""
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise CardError("front_key", "A key of the front matter is not text. Use 'key: value' lines.")
            if key_node.value in result:
                raise CardError("front_key", f"The front matter holds {key_node.value[:80]!r} twice. Keep one.")
            result[key_node.value] = self.construct_object(value_node, deep=True)
        return result

    def construct_whole(self, node: ScalarNode) -> int:
        """A whole number in decimal digits."""
        return int(node.value)

    def construct_decimal(self, node: ScalarNode) -> float | str:
        """A decimal number; one too large for a float stays text."""
        value = float(node.value)
        return value if math.isfinite(value) else str(node.value)


_CardLoader.add_constructor("tag:yaml.org,2002:map", _CardLoader.construct_map)
_CardLoader.add_constructor("tag:yaml.org,2002:int", _CardLoader.construct_whole)
_CardLoader.add_constructor("tag:yaml.org,2002:float", _CardLoader.construct_decimal)
for _tag, _form, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]{1,18}", "-+0123456789"),
    ("float", r"[-+]?[0-9]{1,18}(?:\.[0-9]{0,18})?(?:[eE][-+]?[0-9]{1,3})?", "-+0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _CardLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_form})$"), list(_first))
