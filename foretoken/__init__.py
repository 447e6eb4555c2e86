"""Foretoken serves models that predict from what they have just seen.

Importing this package imports nothing heavy: names are resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from foretoken.client import AsyncClient as AsyncClient
    from foretoken.client import Client as Client
    from foretoken.estimators import CurveExtrapolator as CurveExtrapolator
    from foretoken.estimators import Embedder as Embedder
    from foretoken.estimators import TabularClassifier as TabularClassifier

_HOMES = {
    "AsyncClient": "foretoken.client",
    "Client": "foretoken.client",
    "CurveExtrapolator": "foretoken.estimators",
    "Embedder": "foretoken.estimators",
    "TabularClassifier": "foretoken.estimators",
}

__all__ = [
    "AsyncClient",
    "Client",
    "CurveExtrapolator",
    "Embedder",
    "TabularClassifier",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Resolve a public name on first use (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Public names, whether resolved yet or not."""
    return sorted([*globals(), *_HOMES])
