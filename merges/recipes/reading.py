"""Recipe text to plain dictionaries: YAML without tags, aliases, duplicate keys or surprises of size."""

from __future__ import annotations

from collections import Counter
from typing import Any

import yaml

from merges.methods.declaration import shown
from merges.recipes.schema import Problem, RecipeError

MAX_BYTES = 64 * 1024
NO_MAPPING = "A recipe is a mapping of names to values. Start with 'merge_method: tsv_m'."
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses aliases (a few lines can grow to gigabytes), tags, merge keys and keys written twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse `*name` before it is expanded, and `!!tag` before it makes something else of a value."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("Aliases (*name) are not allowed in recipes. Write the value out.")
        if getattr(self.peek_event(), "tag", None) is not None:  # type: ignore[no-untyped-call]
            raise yaml.YAMLError("Tags (!name) are not allowed in recipes. Write the value alone.")
        return super().compose_node(parent, index)

    def flatten_mapping(self, node: Any) -> None:
        """Refuse `<<`, which has no use without aliases."""
        if any(key.tag == _MERGE for key, _ in node.value):
            raise yaml.YAMLError("Merge keys (<<) are not allowed in recipes. Write the values out.")

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is there twice; the second would silently win."""
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = min((key for key, count in keys.items() if count > 1), default=None)
        if twice is not None:
            raise yaml.YAMLError(f"The key {shown(twice)} is written twice. Keep one.")
        return super().construct_mapping(node, deep)


def read_text(text: str) -> dict[str, Any]:
    """The dictionary a recipe text says. Raises RecipeError."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _refused(f"The recipe is longer than {MAX_BYTES // 1024} KiB. Remove what is not part of it.")
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader with fewer liberties)
    except RecursionError:
        raise _refused("The recipe is nested too deeply to be one.") from None
    # YAML's numbers and dates fail in as many ways as Python's, such as a float in base 60 too large to be one.
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError) as error:
        raise _refused(f"The recipe is not valid YAML: {_short(error)}") from None
    if not isinstance(data, dict):
        raise _refused(NO_MAPPING)
    return data


def _short(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"{problem}, line {mark.line + 1}." if mark and problem else str(error)[:300]


def _refused(message: str) -> RecipeError:
    return RecipeError([Problem("recipe", "error", message)])
