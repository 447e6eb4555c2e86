"""What a notebook uses: estimators that answer in the caller's own process, or by a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foretoken.estimators.curve import CurveExtrapolator, forecasts
from foretoken.estimators.text import Embedder

if TYPE_CHECKING:
    from foretoken.estimators.tabular import TabularClassifier as TabularClassifier

__all__ = ["CurveExtrapolator", "Embedder", "TabularClassifier", "forecasts"]


def __getattr__(name: str) -> Any:
    """``TabularClassifier``, on first use: it alone needs scikit-learn."""
    if name != "TabularClassifier":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from foretoken.estimators.tabular import TabularClassifier  # noqa: PLC0415
    except ModuleNotFoundError as e:
        if (e.name or "").split(".")[0] != "sklearn":
            raise
        raise ModuleNotFoundError(
            "TabularClassifier needs scikit-learn: pip install 'scikit-learn>=1.6'", name="sklearn"
        ) from e
    return TabularClassifier
