"""What a teaching asked for that others must know to use or judge its result."""

from __future__ import annotations

from typing import Any

from adapters.runtime.prompts import DEFAULT_TEMPLATE
from merges.models import Teaching


def judging_settings(row: Teaching) -> dict[str, Any]:
    """The evaluation settings that differ from the usual ones: a prompt of its own is part of what was taught.

    The length is the usual one, so that scores of one task can be compared.
    """
    template = str(row.settings.get("template") or DEFAULT_TEMPLATE)
    return {"template": template} if template != DEFAULT_TEMPLATE else {}
