"""Chooses, for each input, which specialists should answer it.

A library of profiles (stored example vectors, weights) and encoded inputs come in; ranked, calibrated choices leave.
Never here: Django, the network, loading a model, or who may see which specialist: the caller names the candidates.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from adapters.routing.declaration import Choice, Decision, Hint, Query, Router, RoutingFault
from adapters.routing.profiles import Library, Profile

__all__ = ["DEFAULT", "Choice", "Decision", "Hint", "Library", "Profile", "Query", "Router", "RoutingFault", "routers"]

DEFAULT = "sharpened"


def routers() -> dict[str, Router]:
    """Every declared router by name, in the order of lists."""
    modules = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    found = [module.ROUTER for module in modules if hasattr(module, "ROUTER")]
    return {router.name: router for router in sorted(found, key=lambda router: (router.order, router.name))}
