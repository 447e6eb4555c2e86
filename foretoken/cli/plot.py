"""Pictures: a curve with its posterior, a series with its forecasts, losses of a training run."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from foretoken.cli.files import PICTURES, Floats, expect_file, whole
from foretoken.posterior import Posterior

SEEN, AHEAD = "#1b1f24", "#2563a8"
FAN, STRANGE = "#b5541c", "#c1121f"
CLOSE = 400  # steps that the closer look at a series shows at least
ODD, MARKS = 3.0, 20  # of a thousand values one is as odd; of those, the oddest are marked
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
    save(figure, path)


class Streamed:
    """A series, and what was forecast on the way.

    Args:
        levels: K, of the quantiles.
        step: observations before the first.
    """

    def __init__(self, levels: Sequence[float], step: int) -> None:
        self.levels, self.step = levels, step
        self.values: list[Floats] = []
        self.nexts: list[Floats] = []  # [T, K], of the step after each
        self.anomalies: list[Floats] = []
        self.fan: Floats = np.empty((len(levels), 0))  # [K, H], at the end

    def add(self, values: Floats, outputs: Mapping[str, NDArray[Any]]) -> None:
        """Values [T] that were observed, and the outputs after each."""
        self.values.append(values)
        quantiles = outputs["quantiles"]
        self.nexts.append(quantiles[:, :, 0])
        self.fan = quantiles[-1]
        self.anomalies.append(np.asarray(outputs.get("anomaly", np.zeros(len(values)))))


def plot_stream(path: Path, streamed: Streamed, title: str) -> None:
    """Draw a series with what was expected of each value, and the last forecast in full.

    The values that were least expected are marked, and where the series is long, its end is drawn
    once more.
    """
    values = np.concatenate(streamed.values)
    nexts, odd = np.concatenate(streamed.nexts), np.concatenate(streamed.anomalies)
    T, H = len(values), streamed.fan.shape[1]
    steps = streamed.step + np.arange(1.0, T + 1)
    near = min(T, max(CLOSE, 3 * H))
    parts = (T, near) if 2 * near < T else (T,)
    figure = Figure(figsize=(9, 3.2 * len(parts)), dpi=150, layout="constrained")
    marked = np.flatnonzero(odd >= ODD)
    marked = marked[np.argsort(-odd[marked])][:MARKS]
    for axes, count in zip(np.atleast_1d(figure.subplots(len(parts))), parts, strict=True):
        since = T - count
        _draw_expected(axes, streamed.levels, steps[since + 1 :], nexts[since:-1])
        axes.plot(steps[since:], values[since:], color=SEEN, lw=0.9, label="observed")
        _draw_fan(axes, streamed, steps[-1])
        those = marked[marked >= since]
        label = "least expected"
        axes.plot(steps[those], values[those], "o", color=STRANGE, ms=4, mew=0, label=label)
        axes.set(xlabel="step", ylabel="value")
        axes.margins(x=0.01)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_title(title, fontsize="medium")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    # Long series leave no room within.
    figure.legend(
        handles, labels, loc="outside lower center", frameon=False, fontsize="small", ncols=4
    )
    save(figure, path)


def _draw_expected(axes: Any, levels: Sequence[float], steps: Floats, nexts: Floats) -> None:
    """What was expected of each value one step before it came."""
    if len(steps) == 0:
        return
    label = f"{levels[0]:g} to {levels[-1]:g}, a step ahead"
    axes.fill_between(
        steps, nexts[:, 0], nexts[:, -1], color=AHEAD, alpha=0.22, lw=0, step="mid", label=label
    )


def _draw_fan(axes: Any, streamed: Streamed, last: float) -> None:
    """The forecast at the end: pairs of levels from the outer ones inwards, and the middle."""
    fan, levels = streamed.fan, streamed.levels
    steps = last + np.arange(1, fan.shape[1] + 1)
    pairs = len(levels) // 2
    for i in range(pairs):
        axes.fill_between(steps, fan[i], fan[-1 - i], color=FAN, alpha=0.5 / max(pairs, 1), lw=0)
    middle = int(np.argmin(np.abs(np.array(levels) - 0.5)))
    axes.plot(steps, fan[middle], color=FAN, lw=1.4, label=f"forecast of {len(steps)} steps")


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
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a picture, whole or not at all."""
    expect_file(path, PICTURES)
    with whole(path) as temporary:
        figure.savefig(temporary)
