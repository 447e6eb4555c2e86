"""``foretoken extrapolate`` and ``foretoken early-stop``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from foretoken.cli import files
from foretoken.cli.output import show, show_table, track, work
from foretoken.cli.registry import DataDir, Json
from foretoken.errors import InvalidInput, NotFound
from foretoken.estimators import CurveExtrapolator, forecasts
from foretoken.models.tasks import CurveRequest
from foretoken.posterior import Posterior
from foretoken.stopping import (
    Median,
    Predictive,
    Report,
    Rule,
    Run,
    expect_threshold,
    replay,
)

MOST_STEPS = 1000  # that are predicted up to a horizon

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
        typer.Option(
            help="Last step to predict; the default is 100 or twice what was seen. At most "
            f"{MOST_STEPS} steps, evenly spread, are predicted up to it."
        ),
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
    rows: Annotated[int, typer.Option(min=2, help="Rows of the printed table.")] = 12,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Extrapolate a learning curve, in its own units, with uncertainty."""
    if out is not None:
        files.expect_file(out)
    if plot is not None:
        files.expect_file(plot, files.PICTURES)
    extrapolator = _extrapolator(model, minimize, bounds, soft_bounds, data_dir)
    whole = _run(curve, extrapolator)
    run = whole.until(len(whole.steps) if seen is None else seen)
    rest = whole.steps[len(run.steps) :], whole.values[len(run.steps) :]
    if seen is not None and not len(rest[0]):
        raise InvalidInput(f"--seen {seen} leaves nothing of the curve's {len(whole.steps)} points")
    truth = rest if len(rest[0]) else None
    at = _until(run.steps, horizon) if horizon is not None else truth and truth[0]
    levels = _numbers("quantiles", quantiles)
    posterior = extrapolator.extrapolate(run.values, run.steps, at, levels)
    title = f"{len(run.steps)} points seen"
    if plot is not None:
        from foretoken.cli.plot import plot_curve  # noqa: PLC0415 - matplotlib is slow to import

        named = f"{curve.stem}: {title} by {model}"
        plot_curve(plot, run.steps, run.values, posterior, named, truth=truth)
    names, table = _table(posterior)
    if out is not None:
        files.write_csv(out, names, table)
    records = [dict(zip(names, map(float, row), strict=True)) for row in table]
    if not as_json and len(records) > rows:
        kept = np.unique(np.linspace(0, len(records) - 1, rows).round().astype(int))
        records = [records[i] for i in kept]
    show_table(records, title=f"{curve.name}: {title}", as_json=as_json)


def early_stop(
    folder: Annotated[Path, typer.Argument(help="Folder of CSV files, one run of a sweep each.")],
    model: Annotated[str, typer.Option(help="NAME, NAME:VERSION or ALIAS@NAME.")] = "lcpfn",
    threshold: Annotated[
        float, typer.Option(help="Stop when the chance of beating the best is at most that.")
    ] = 0.05,
    checks: Annotated[int, typer.Option(min=2, help="How often a run is judged.")] = 20,
    orders: Annotated[int, typer.Option(min=1, help="Random orders of the sweep.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the orders.")] = 0,
    minimize: Minimize = False,
    bounds: Bounds = "0,1",
    soft_bounds: SoftBounds = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Replay a finished sweep: what would have been stopped, what saved, and what lost."""
    expect_threshold(threshold)
    extrapolator = _extrapolator(model, minimize, bounds, soft_bounds, data_dir)
    runs = _sweep(folder, extrapolator)

    def judged(run: Run) -> list[int]:
        return sorted({max(2, round(len(run.steps) * k / checks)) for k in range(1, checks)})

    replay(runs, None, minimize=minimize, checks=judged)  # refuses what cannot be replayed
    with work(f"Extrapolating {len(runs)} runs"):
        predicted = forecasts(extrapolator, runs, judged)
    predictive = f"predictive at {threshold:g}"
    rules: dict[str, Rule] = {
        predictive: Predictive(predicted, threshold),
        "median": Median(minimize=minimize),
    }
    shuffles = [np.random.default_rng((seed, i)).permutation(len(runs)) for i in range(orders)]
    reports = {
        name: [
            replay([runs[i] for i in order], rule, minimize=minimize, checks=judged)
            for order in track(shuffles, name)
        ]
        for name, rule in rules.items()
    }
    of_rules = [_summary(name, runs, reports[name]) for name in rules]
    of_runs = [_fate(run, reports[predictive]) for run in runs]
    if as_json:
        show("", as_json=True, rules=of_rules, runs=of_runs)
        return
    show_table(of_rules, title=f"{len(runs)} runs in {orders} orders", as_json=False)
    show_table(of_runs, title=f"Each run under {predictive}", as_json=False)


def _extrapolator(
    model: str, minimize: bool, bounds: str, soft_bounds: str | None, data_dir: Path | None
) -> CurveExtrapolator:
    return CurveExtrapolator(
        model,
        minimize=minimize,
        bounds=_pair("bounds", bounds),
        soft_bounds=None if soft_bounds is None else _pair("soft-bounds", soft_bounds),
        data_dir=data_dir,
    )


def _sweep(folder: Path, extrapolator: CurveExtrapolator) -> list[Run]:
    """The runs of a folder that holds at least two."""
    if not folder.is_dir():
        raise NotFound(f"no folder {folder}")
    paths = sorted(folder.glob("*.csv"))
    if len(paths) < 2:
        raise InvalidInput(f"{folder} holds {len(paths)} CSV files; a sweep has at least two runs")
    return [_run(path, extrapolator) for path in paths]


def _run(path: Path, extrapolator: CurveExtrapolator) -> Run:
    """A curve that the extrapolator would take; an error names the file."""
    run = Run(path.stem, *files.read_curve(path))
    try:
        CurveRequest(
            values=run.values,
            steps=run.steps,
            at=run.steps,
            quantiles=np.array([0.5]),
            minimize=extrapolator.minimize,
            bounds=extrapolator.bounds,
        )
    except InvalidInput as e:
        raise InvalidInput(f"{path}: {e}") from e
    return run


def _table(posterior: Posterior) -> tuple[list[str], files.Floats]:
    """Names of the columns, and a row per step."""
    names = ["step", "mean", *(f"q{level:g}" for level in posterior.levels)]
    return names, np.column_stack([posterior.steps, posterior.mean, posterior.quantiles.T])


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


def _fate(run: Run, reports: list[Report]) -> dict[str, str | float]:
    """What became of a run in the orders replayed."""
    points = [report.stopped[run.name] for report in reports]
    return {
        "run": run.name,
        "stopped_share": float(np.mean([n < len(run.steps) for n in points])),
        "median_points_seen": float(np.median(points)),
        "points": len(run.steps),
    }


def _pair(name: str, text: str) -> tuple[float, float]:
    both = _numbers(name, text)
    if len(both) != 2 or not both[0] < both[1]:
        raise InvalidInput(f"--{name} takes LOW,HIGH with LOW below HIGH, not {text!r}")
    return both[0], both[1]


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as e:
        raise InvalidInput(f"--{name} takes numbers with commas between, not {text!r}") from e


def _until(steps: files.Floats, horizon: float) -> files.Floats:
    """Steps from the last seen one to ``horizon``, at the median spacing of those seen."""
    last = float(steps[-1])
    if not last < horizon < np.inf:
        raise InvalidInput(
            f"--horizon must be finite and lie after the last step seen, {last:g}; not {horizon:g}"
        )
    spacing = float(np.median(np.diff(steps))) if len(steps) > 1 else 1.0
    count = max(1, round(min(MOST_STEPS, (horizon - last) / spacing)))
    return np.linspace(last, horizon, count + 1)[1:]
