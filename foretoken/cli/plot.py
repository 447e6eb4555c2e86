"""Pictures: a curve with its posterior, and the losses of a training run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from foretoken.cli.files import PICTURES, expect_file, whole
from foretoken.posterior import Posterior

SEEN, AHEAD = "#1b1f24", "#2563a8"
BANDS = ((0.05, 0.95, 0.18), (0.25, 0.75, 0.30))  # levels, and how dark to draw between them


def plot_curve(
    path: Path,
    steps: NDArray[np.float64],
    values: NDArray[np.float64],
    posterior: Posterior,
    title: str,
    truth: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> None:
    """Draw what was seen, the median ahead, and its 50 % and 90 % bands; ``truth`` if known."""
    figure = Figure(figsize=(8, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    for low, high, alpha in BANDS:
        below, above = posterior.quantile([low, high])
        label = f"{high - low:.0%} of the posterior"
        axes.fill_between(
            posterior.steps, below, above, color=AHEAD, alpha=alpha, lw=0, label=label
        )
    axes.plot(posterior.steps, posterior.quantile([0.5])[0], color=AHEAD, lw=1.8, label="median")
    if truth is not None:
        axes.plot(*truth, color=SEEN, lw=1.0, ls=":", label="what came")
    axes.plot(steps, values, color=SEEN, lw=1.2, marker="o", ms=3, label="seen")
    axes.axvline(steps[-1], color=SEEN, lw=0.6, ls="--", alpha=0.5)
    axes.set(xlabel="step", ylabel="value", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    _save(figure, path)


def plot_losses(path: Path, log: Path) -> None:
    """Draw a training log (CSV: step, loss and held-out columns) over its steps."""
    with log.open(newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    figure = Figure(figsize=(8, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    hidden = {"step", "minutes", "lr", "grad_norm"}
    for name in (n for n in (rows[0] if rows else ()) if n not in hidden):
        points = [(float(row["step"]), float(row[name])) for row in rows if row[name]]
        if points:
            steps, values = zip(*points, strict=True)
            thin = name == "loss"  # of single batches, so noisy
            axes.plot(steps, values, label=name, lw=0.8 if thin else 1.4, alpha=0.6 if thin else 1)
    axes.set(xlabel="step", ylabel="loss", title="Training")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:  # a run may end before its first logged step
        axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    expect_file(path, PICTURES)
    with whole(path) as temporary:
        figure.savefig(temporary)
