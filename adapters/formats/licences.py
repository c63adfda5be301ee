"""Whether a licence may be put on something made from others: the rules people agree on, said in sentences.

This is a first look, not legal advice: what is unknown is a warning, never a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FREE = frozenset(
    "mit apache-2.0 bsd-2-clause bsd-3-clause bsd isc cc0-1.0 cc-by-4.0 cc-by-3.0 cc-by-2.0 unlicense zlib pddl "
    "odc-by cdla-permissive-1.0 cdla-permissive-2.0 afl-3.0 wtfpl public-domain".split()
)
SHARE_ALIKE: dict[str, str] = {
    **dict.fromkeys(("gpl-2.0", "gpl-3.0", "agpl-3.0", "gpl", "lgpl-3.0", "lgpl-2.1"), "gpl"),
    **dict.fromkeys(("cc-by-sa-4.0", "cc-by-sa-3.0"), "cc-by-sa"),
    **dict.fromkeys(("cc-by-nc-sa-4.0", "cc-by-nc-sa-3.0"), "cc-by-nc-sa"),
    "odbl": "odbl",
}
NON_COMMERCIAL = frozenset("cc-by-nc-4.0 cc-by-nc-3.0 cc-by-nc-sa-4.0 cc-by-nc-sa-3.0 cc-by-nc-nd-4.0".split())
NO_DERIVATIVES = frozenset("cc-by-nd-4.0 cc-by-nc-nd-4.0 cc-by-nc-nd-3.0".split())
OWN_TERMS = ("llama", "gemma", "openrail", "bigscience", "creativeml", "other")


@dataclass(frozen=True)
class Source:
    """What something was made from: its name, its licence (empty: none stated), and whether it is data."""

    name: str
    licence: str
    data: bool = False


def judge(own: str, sources: Sequence[Source]) -> tuple[str, list[str]]:
    """("pass" | "warn" | "fail", sentences): does `own` agree with the licences of what it was made from?"""
    own = own.strip().lower()
    failures: list[str] = []
    doubts: list[str] = [] if own else ["The card names no licence, so nobody may use it with certainty."]
    for source in sources:
        failed, doubted = _against(own, source)
        failures += failed
        doubts += doubted
    verdict = "fail" if failures else "warn" if doubts else "pass"
    return verdict, failures + doubts


def _against(own: str, source: Source) -> tuple[list[str], list[str]]:
    theirs = source.licence.strip().lower()
    if not theirs:
        return [], [f"{source.name} states no licence."]
    if theirs in NO_DERIVATIVES:
        return [f"{source.name} is under {theirs}, which allows nothing to be made from it."], []
    if theirs in NON_COMMERCIAL and own and own not in NON_COMMERCIAL:
        return [f"{source.name} is under {theirs} (no commercial use), but {own} would allow it."], []
    family = SHARE_ALIKE.get(theirs)
    if family and own and SHARE_ALIKE.get(own) != family:
        if source.data:  # whether weights are an adaptation of their training data is disputed
            return [], [f"{source.name} is under {theirs}, which asks for the same licence on what is made from it."]
        return [f"{source.name} is under {theirs}, which asks for the same licence on what is made from it."], []
    if theirs not in FREE and not family and theirs not in NON_COMMERCIAL:
        own_terms = theirs.startswith(OWN_TERMS)
        return [], [f"{source.name} is under {theirs}, " + ("which has terms of its own: read them."
                                                            if own_terms else "which is not known here.")]  # fmt: skip
    return [], []
