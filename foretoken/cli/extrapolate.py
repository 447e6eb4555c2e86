"""``foretoken extrapolate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from foretoken.cli import files
from foretoken.cli.curves import Bounds, Minimize, SoftBounds, extrapolator_of, numbers_of, run_of
from foretoken.cli.output import show_table
from foretoken.cli.registry import DataDir, Json
from foretoken.cli.remote import Server
from foretoken.errors import InvalidInput
from foretoken.posterior import Posterior

MOST_STEPS = 1000  # that are predicted up to a horizon


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
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Extrapolate a learning curve, in its own units, with uncertainty."""
    if out is not None:
        files.expect_file(out)
    if plot is not None:
        files.expect_file(plot, files.PICTURES)
    extrapolator = extrapolator_of(model, minimize, bounds, soft_bounds, data_dir, server)
    whole = run_of(curve, extrapolator)
    run = whole.until(len(whole.steps) if seen is None else seen)
    rest = whole.steps[len(run.steps) :], whole.values[len(run.steps) :]
    if seen is not None and not len(rest[0]):
        raise InvalidInput(f"--seen {seen} leaves nothing of the curve's {len(whole.steps)} points")
    truth = rest if len(rest[0]) else None
    at = _until(run.steps, horizon) if horizon is not None else truth and truth[0]
    levels = numbers_of("quantiles", quantiles)
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


def _table(posterior: Posterior) -> tuple[list[str], files.Floats]:
    """Names of the columns, and a row per step."""
    names = ["step", "mean", *(f"q{level:g}" for level in posterior.levels)]
    return names, np.column_stack([posterior.steps, posterior.mean, posterior.quantiles.T])


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
