"""A picture of the comparison: on every table, how far each method lies from the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.tables.compare import table_of

__all__ = ["plot"]

OURS, OTHERS = "#c2410c", ("#94a3b8", "#64748b", "#0ea5e9", "#22c55e", "#a855f7")
MARKS = "vsD^o"


def plot(path: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]], ours: str) -> None:
    """Draw mean ROC-AUC over the splits, less the best method's, table by table, and its mean."""
    auc = table_of(rows, "auc")
    auc.index = [str(name).partition("_")[2] for name in auc.index]
    behind = auc.sub(auc.max(axis=1), axis=0)
    behind = behind.loc[behind[ours].sort_values().index]
    mean = pd.DataFrame(behind.mean().rename("mean")).T
    shown = pd.concat([mean, behind])
    figure = Figure(figsize=(8, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    places = range(len(shown))
    others = [method for method in shown.columns if method != ours]
    for method, colour, mark in zip(others, OTHERS, MARKS, strict=True):
        axes.plot(shown[method], places, mark, color=colour, alpha=0.85, ms=5, label=method)
    axes.plot(shown[ours], places, "o", color=OURS, ms=8, label=ours, zorder=3)
    axes.axhline(0.5, color="#cbd5e1", lw=0.8)
    axes.axvline(0, color="#cbd5e1", lw=0.8, zorder=0)
    axes.set_yticks(places, [str(name) for name in shown.index])
    axes.set_xlabel("ROC-AUC behind the best of the six, mean of five splits")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    figure.savefig(path)
