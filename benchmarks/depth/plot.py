"""The picture: shares by difficulty beside the controls, lengths of chains, and use of layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["plot"]

COLOURS = {"search": "#1f77b4", "random": "#bbbbbb", "shuffled": "#d62728"}
FOUND = {"corrected": "#1f77b4", "shortened": "#2ca02c"}


def plot(path: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """A row of four panels for each model: by name, what ``arm.measured`` says of it."""
    figure = Figure(figsize=(15, 3.4 * len(found)), dpi=130, layout="constrained")
    rows = figure.subplots(len(found), 4, squeeze=False, width_ratios=(3, 3, 2, 2))
    for (name, each), (corrected, shortened, lengths, layers) in zip(
        found.items(), rows, strict=True
    ):
        order = [level for level, said in each["levels"].items() if said["used"]]
        _bars(corrected, each["corrected"], order)
        corrected.set_title(f"{name}: wrong ones corrected", fontsize=9, loc="left")
        _bars(shortened, each["shortened"], order)
        shortened.set_title("right ones answered by fewer layers", fontsize=9, loc="left")
        _lengths(lengths, each)
        _layers(layers, each)
        for axes in (corrected, shortened, lengths, layers):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=7)
            axes.legend(frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _bars(axes: Axes, said: Mapping[str, Any], order: list[str]) -> None:
    kinds = [kind for kind in COLOURS if kind in said]
    width = 0.8 / len(kinds)
    for at, kind in enumerate(kinds):
        by_level = said[kind]["levels"]
        places = [i for i, level in enumerate(order) if level in by_level]
        heights = [by_level[order[i]]["share"] for i in places]
        left = [i + (at - (len(kinds) - 1) / 2) * width for i in places]
        share = said[kind]["share"]
        label = kind if share is None else f"{kind} ({share:.0%})"
        axes.bar(left, heights, width, color=COLOURS[kind], label=label)
    axes.set_xticks(range(len(order)), order, rotation=60)
    axes.set_ylim(0, 1.3)
    axes.set_ylabel("share", fontsize=8)


def _lengths(axes: Axes, each: Mapping[str, Any]) -> None:
    for kind, colour in FOUND.items():
        counted = {int(n): count for n, count in each["chains"][f"{kind}_lengths"].items()}
        total = max(1, sum(counted.values()))
        shares = [count / total for count in counted.values()]
        axes.bar(list(counted), shares, 0.8, color=colour, alpha=0.6, label=kind)
    axes.axvline(each["model"]["layers"], color="black", lw=1, ls=":", label="the whole chain")
    axes.set_title("lengths of the chains found", fontsize=9, loc="left")
    axes.set_xlabel("layers", fontsize=8)


def _layers(axes: Axes, each: Mapping[str, Any]) -> None:
    for kind, colour in FOUND.items():
        times = [layer["times"] for layer in each["chains"][f"{kind}_usage"]]
        axes.plot(range(len(times)), times, "o-", color=colour, ms=3, label=kind)
    axes.axhline(1.0, color="black", lw=1, ls=":", label="the whole chain")
    axes.set_title("times that each layer is run", fontsize=9, loc="left")
    axes.set_xlabel("layer", fontsize=8)
    axes.set_ylim(0)
