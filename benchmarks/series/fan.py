"""A picture of one origin's forecasts by several methods: what was seen, what came, 80 % ranges."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["plot"]

COLOURS = ("#c2410c", "#64748b", "#0ea5e9", "#22c55e")
BEFORE = 120  # hours that are shown before the origin

Floats = NDArray[np.float64]


def plot(
    path: Path, y: Floats, origin: int, row: int, made: Mapping[str, Floats], levels: Floats
) -> None:
    """Draw a panel for each method.

    Args:
        path: of the picture.
        y: the series, [N].
        origin: index of the last value that was seen.
        row: of that origin in the forecasts.
        made: quantiles [origins, K, H] by method.
        levels: [K], the middle one 0.5.
    """
    figure = Figure(figsize=(9, 4.8), dpi=150, layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey=True).flat
    for axes, (name, quantiles), colour in zip(panels, made.items(), COLOURS, strict=True):
        q = quantiles[row]
        H = q.shape[1]
        past, ahead = np.arange(-BEFORE, 1), np.arange(1, H + 1)
        axes.plot(past, y[origin - BEFORE : origin + 1], color="#0f172a", lw=1)
        axes.plot(ahead, y[origin + 1 : origin + 1 + H], color="#0f172a", lw=1, ls=":")
        for k in range(len(levels) // 2):
            axes.fill_between(ahead, q[k], q[-1 - k], color=colour, alpha=0.14, lw=0)
        axes.plot(ahead, q[len(levels) // 2], color=colour, lw=1.5)
        axes.axvline(0, color="#cbd5e1", lw=0.8, zorder=0)
        axes.set_title(name, fontsize=10, loc="left", color=colour)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("hours after the last value seen", fontsize=9)
    figure.supylabel("oil temperature, °C", fontsize=9)
    figure.savefig(path)
