"""A picture of chains of layers: how long they are, and how often they run each layer."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from foretoken.cli.chains import Chains
from foretoken.cli.plot import AHEAD, FAN, SEEN, save

__all__ = ["plot_chains"]


def plot_chains(path: Path, chains: Chains, title: str) -> None:
    """Draw a histogram of lengths, and mean runs by layer."""
    figure = Figure(figsize=(9, 3.6), dpi=150, layout="constrained")
    lengths, usage = figure.subplots(1, 2)
    counts, runs = chains.lengths, chains.usage
    lengths.bar(list(counts), list(counts.values()), color=AHEAD, width=0.8)
    lengths.axvline(chains.layers, color=SEEN, lw=0.9, ls="--")
    lengths.set(xlabel="layers of the chain", ylabel="prompts")
    usage.bar(list(runs), list(runs.values()), color=FAN, width=0.8)
    usage.axhline(1, color=SEEN, lw=0.9, ls="--", label="the whole chain")
    usage.set(xlabel="layer", ylabel="runs in a chain, on average")
    for axes in (lengths, usage):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    # Bars leave no room within.
    handles, labels = usage.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize="small")
    figure.suptitle(
        f"{title}: the best right chain of {len(chains.found)} in {chains.prompts} prompts",
        fontsize="medium",
    )
    save(figure, path)
