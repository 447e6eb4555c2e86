"""``foretoken extrapolate`` and ``foretoken early-stop``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from foretoken.cli import files
from foretoken.cli.output import show_table, track, work
from foretoken.cli.plot import plot_curve
from foretoken.cli.registry import DataDir, Json
from foretoken.errors import InvalidInput
from foretoken.estimators import CurveExtrapolator, forecasts
from foretoken.stopping import Median, Predictive, Report, Rule, Run, replay

Minimize = Annotated[bool, typer.Option("--minimize", help="Lower is better.")]
Bounds = Annotated[
    str, typer.Option(help="LOW,HIGH that the metric cannot leave; inf and -inf are allowed.")
]
SoftBounds = Annotated[
    str | None, typer.Option(help="LOW,HIGH between which values are told apart best.")
]


def extrapolate(
    model: Annotated[str, typer.Argument(help="NAME, NAME:VERSION or ALIAS@NAME.")],
    curve: Annotated[
        Path, typer.Option(help="CSV with the columns step,value, or values alone: one a line.")
    ],
    horizon: Annotated[
        float | None,
        typer.Option(help="Last step to predict; the default is 100 or twice what was seen."),
    ] = None,
    seen: Annotated[
        int | None,
        typer.Option(min=1, help="Show the model only the first so many points, and compare."),
    ] = None,
    quantiles: Annotated[str, typer.Option(help="Levels to report.")] = "0.05,0.5,0.95",
    minimize: Minimize = False,
    bounds: Bounds = "0,1",
    soft_bounds: SoftBounds = None,
    out: Annotated[Path | None, typer.Option(help="Write the table as CSV.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the curve with its bands: PNG, SVG or PDF.")
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows of the printed table.")] = 12,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Extrapolate a learning curve, in its own units, with uncertainty."""
    all_steps, all_values = files.read_curve(curve)
    steps, values = all_steps[:seen], all_values[:seen]
    rest = (all_steps[len(steps) :], all_values[len(steps) :])
    if seen is not None and not len(rest[0]):
        raise InvalidInput(f"--seen {seen} leaves nothing of the curve's {len(all_steps)} points")
    extrapolator = CurveExtrapolator(
        model,
        minimize=minimize,
        bounds=_pair("bounds", bounds),
        soft_bounds=None if soft_bounds is None else _pair("soft-bounds", soft_bounds),
        data_dir=data_dir,
    )
    ahead = rest[0] if len(rest[0]) else None
    at = ahead if horizon is None else _until(steps, horizon)
    posterior = extrapolator.extrapolate(values, steps, at, _numbers("quantiles", quantiles))
    names = ["step", "mean", *(f"q{level:g}" for level in posterior.levels)]
    table = np.column_stack([posterior.steps, posterior.mean, posterior.quantiles.T])
    if out is not None:
        files.write_csv(out, names, table)
    if plot is not None:
        title = f"{curve.stem}: {len(values)} points seen by {model}"
        plot_curve(plot, steps, values, posterior, title, truth=rest if len(rest[0]) else None)
    records = [dict(zip(names, map(float, row), strict=True)) for row in table]
    if not as_json and len(records) > rows:
        kept = np.unique(np.linspace(0, len(records) - 1, max(2, rows)).round().astype(int))
        records = [records[i] for i in kept]
    show_table(records, title=f"{curve.name}: {len(values)} points seen", as_json=as_json)


def early_stop(
    folder: Annotated[Path, typer.Argument(help="Folder of CSV files, one run of a sweep each.")],
    model: Annotated[str, typer.Option(help="NAME, NAME:VERSION or ALIAS@NAME.")] = "lcpfn",
    threshold: Annotated[
        float, typer.Option(help="Stop when the chance of beating the best is at most that.")
    ] = 0.05,
    checks: Annotated[int, typer.Option(min=1, help="How often a run is judged.")] = 20,
    orders: Annotated[int, typer.Option(min=1, help="Random orders of the sweep.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the orders.")] = 0,
    minimize: Minimize = False,
    bounds: Bounds = "0,1",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Replay a finished sweep: what would have been stopped, what saved, and what lost."""
    paths = sorted(folder.glob("*.csv"))
    if len(paths) < 2:
        raise InvalidInput(f"{folder} holds {len(paths)} CSV files; a sweep has at least two runs")
    runs = [Run(path.stem, *files.read_curve(path)) for path in paths]
    extrapolator = CurveExtrapolator(
        model, minimize=minimize, bounds=_pair("bounds", bounds), data_dir=data_dir
    )

    def judged(run: Run) -> list[int]:
        return sorted({max(2, round(len(run.steps) * k / checks)) for k in range(1, checks)})

    with work(f"Extrapolating {len(runs)} runs"):
        predicted = forecasts(extrapolator, runs, judged)
    rules: dict[str, Rule] = {
        f"predictive at {threshold:g}": Predictive(predicted, threshold),
        "median": Median(minimize=minimize),
    }
    shuffles = [np.random.default_rng((seed, i)).permutation(len(runs)) for i in range(orders)]
    rows = []
    for name, rule in rules.items():
        reports = [
            replay([runs[i] for i in order], rule, minimize=minimize, checks=judged)
            for order in track(shuffles, name)
        ]
        rows.append(_summary(name, runs, reports))
    show_table(rows, title=f"{len(runs)} runs in {orders} orders", as_json=as_json)


def _summary(rule: str, runs: list[Run], reports: list[Report]) -> dict[str, str | float]:
    whole = {run.name: len(run.steps) for run in runs}
    stopped = [sum(n < whole[name] for name, n in r.stopped.items()) for r in reports]
    return {
        "rule": rule,
        "runs_stopped": float(np.median(stopped)),
        "speedup": float(np.median([r.speedup for r in reports])),
        "steps_saved": float(np.median([1 - 1 / r.speedup for r in reports])),
        "median_regret": float(np.median([r.regret for r in reports])),
        "worst_regret": max(r.regret for r in reports),
    }


def _pair(name: str, text: str) -> tuple[float, float]:
    both = _numbers(name, text)
    if len(both) != 2:
        raise InvalidInput(f"--{name} takes LOW,HIGH, not {text!r}")
    return both[0], both[1]


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as e:
        raise InvalidInput(f"--{name} takes numbers with commas between, not {text!r}") from e


def _until(steps: np.ndarray, horizon: float) -> np.ndarray:
    """Steps from the last seen one to ``horizon``, at the median spacing of those seen."""
    last = float(steps[-1])
    if not last < horizon:
        raise InvalidInput(f"--horizon {horizon:g} must lie after the last step seen, {last:g}")
    spacing = float(np.median(np.diff(steps))) if len(steps) > 1 else 1.0
    count = min(1000, max(1, int((horizon - last) / spacing)))
    return np.linspace(last, horizon, count + 1)[1:]
