"""What the commands on learning curves share: their options, and how they read a curve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from foretoken.cli import files
from foretoken.cli.remote import Remote, client_of
from foretoken.errors import InvalidInput
from foretoken.estimators import CurveExtrapolator
from foretoken.models.tasks import CurveRequest
from foretoken.stopping import Run

__all__ = ["Bounds", "Minimize", "SoftBounds", "extrapolator_of", "numbers_of", "pair_of", "run_of"]

Minimize = Annotated[bool, typer.Option("--minimize", help="Lower is better.")]
Bounds = Annotated[
    str, typer.Option(help="LOW,HIGH that the metric cannot leave; inf and -inf are allowed.")
]
SoftBounds = Annotated[
    str | None, typer.Option(help="LOW,HIGH between which values are told apart best.")
]


def extrapolator_of(
    model: str,
    minimize: bool,
    bounds: str,
    soft_bounds: str | None,
    data_dir: Path | None,
    server: Remote | None,
) -> CurveExtrapolator:
    """The estimator that the options ask for."""
    return CurveExtrapolator(
        model,
        client_of(server, data_dir),
        minimize=minimize,
        bounds=pair_of("bounds", bounds),
        soft_bounds=None if soft_bounds is None else pair_of("soft-bounds", soft_bounds),
        data_dir=data_dir,
    )


def run_of(path: Path, extrapolator: CurveExtrapolator) -> Run:
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


def pair_of(name: str, text: str) -> tuple[float, float]:
    """The two numbers of an option, the lower first."""
    both = numbers_of(name, text)
    if len(both) != 2 or not both[0] < both[1]:
        raise InvalidInput(f"--{name} takes LOW,HIGH with LOW below HIGH, not {text!r}")
    return both[0], both[1]


def numbers_of(name: str, text: str) -> tuple[float, ...]:
    """The numbers of an option, which has commas between them."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as e:
        raise InvalidInput(f"--{name} takes numbers with commas between, not {text!r}") from e
