"""``foretoken early-stop``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from foretoken.cli.curves import Bounds, Minimize, SoftBounds, extrapolator_of, run_of
from foretoken.cli.output import show, show_table, track, work
from foretoken.cli.registry import DataDir, Json
from foretoken.cli.remote import Server
from foretoken.errors import InvalidInput, NotFound
from foretoken.estimators import CurveExtrapolator, forecasts
from foretoken.stopping import (
    Median,
    Predictive,
    Report,
    Rule,
    Run,
    evenly,
    expect_threshold,
    replay,
)


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
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Replay a finished sweep: what would have been stopped, what saved, and what lost."""
    expect_threshold(threshold)
    extrapolator = extrapolator_of(model, minimize, bounds, soft_bounds, data_dir, server)
    runs = _sweep(folder, extrapolator)
    judged = evenly(checks)
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


def _sweep(folder: Path, extrapolator: CurveExtrapolator) -> list[Run]:
    """The runs of a folder that holds at least two."""
    if not folder.is_dir():
        raise NotFound(f"no folder {folder}")
    paths = sorted(folder.glob("*.csv"))
    if len(paths) < 2:
        raise InvalidInput(f"{folder} holds {len(paths)} CSV files; a sweep has at least two runs")
    return [run_of(path, extrapolator) for path in paths]


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
