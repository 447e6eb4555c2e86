"""Pictures: what a long sequence costs as it goes on, in seconds and in bytes of state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.series.mixers import COLOURS

__all__ = ["plot"]


def plot(path: Path, found: Mapping[str, Mapping[str, Any]], chunk: int) -> None:
    """A row of two panels for each shape in ``found``: by shape's name, by mixer."""
    figure = Figure(figsize=(8, 3.1 * len(found)), dpi=150, layout="constrained")
    rows = figure.subplots(len(found), 2, squeeze=False)
    for (name, sides), (time, memory) in zip(found.items(), rows, strict=True):
        for mixer, each in sides.items():
            steps = [chunk * (i + 1) for i in range(len(each["cumulative_s"]))]
            style = {"color": COLOURS[mixer], "label": mixer, "lw": 2}
            time.plot(steps, each["cumulative_s"], **style)
            memory.plot(steps, [size / 1024 for size in each["state_bytes"]], **style)
        time.set_ylabel("seconds so far")
        memory.set_ylabel("KiB of state")
        memory.set_yscale("log")
        for axes in (time, memory):
            axes.set_title(name, fontsize=9, loc="left")
            axes.set_xlabel("tokens of one sequence")
            axes.spines[["top", "right"]].set_visible(False)
        time.legend(frameon=False, fontsize=8)
    figure.savefig(path)
