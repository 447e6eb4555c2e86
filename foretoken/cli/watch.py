"""``foretoken watch``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import typer

from foretoken.cli.curves import Bounds, Minimize, SoftBounds, numbers_of, pair_of
from foretoken.cli.output import show_line
from foretoken.cli.registry import DataDir, Json
from foretoken.cli.remote import Remote, Server, client_of
from foretoken.errors import InvalidInput, Unavailable
from foretoken.posterior import Floats, Posterior
from foretoken.stopping import Advice

MOST_STEPS = 100  # that are predicted up to the horizon


class Outlook(Protocol):
    """What is told after an observation."""

    @property
    def posterior(self) -> Posterior | None: ...
    @property
    def advice(self) -> Advice | None: ...


Push = Callable[[float, float], Outlook]


@dataclass(frozen=True)
class Asked:
    """What the options ask for; see ``foretoken.Client.watch``."""

    model: str
    at: Floats
    quantiles: tuple[float, ...]
    minimize: bool
    bounds: tuple[float, float]
    soft_bounds: tuple[float, float] | None
    best: float | None
    threshold: float


def watch(
    model: Annotated[str, typer.Argument(help="NAME, NAME:VERSION or ALIAS@NAME.")],
    horizon: Annotated[float, typer.Option(help="Last step of the run.")],
    best: Annotated[
        float | None, typer.Option(help="Value to beat; without one there is no advice.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="Advise to stop when the chance of beating it is at most that.")
    ] = 0.05,
    stop: Annotated[bool, typer.Option("--stop", help="End when the advice is to stop.")] = False,
    quantiles: Annotated[str, typer.Option(help="Levels to report.")] = "0.05,0.5,0.95",
    minimize: Minimize = False,
    bounds: Bounds = "0,1",
    soft_bounds: SoftBounds = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Follow a run: read STEP,VALUE (or VALUE) a line, tell what to expect of its last step.

    A row is printed for each line as it comes; with --json, an object.
    """
    asked = Asked(
        model=model,
        at=_ahead(horizon),
        quantiles=numbers_of("quantiles", quantiles),
        minimize=minimize,
        bounds=pair_of("bounds", bounds),
        soft_bounds=None if soft_bounds is None else pair_of("soft-bounds", soft_bounds),
        best=best,
        threshold=threshold,
    )
    with _opened(asked, server, data_dir) as push:
        names = ["step", "value", "mean", *(f"q{level:g}" for level in asked.quantiles), "chance"]
        if not as_json:
            show_line([*names, "advice"])
        for step, value in _observations(sys.stdin):
            outlook = push(step, value)
            row = _row(step, value, outlook, names)
            if as_json:
                sys.stdout.write(json.dumps(row) + "\n")
                sys.stdout.flush()
            else:
                show_line(list(row.values()))
            if stop and outlook.advice is not None and outlook.advice.stop:
                return


@contextmanager
def _opened(asked: Asked, server: Remote | None, data_dir: Path | None) -> Iterator[Push]:
    """What takes an observation: a server, or else this process."""
    client = client_of(server, data_dir)
    if client is None:
        yield _Here(asked, data_dir).push
        return
    with client, client.watch(**asdict(asked)) as run:
        yield run.push


@dataclass(frozen=True)
class _Told:
    posterior: Posterior | None
    advice: Advice | None


class _Here:
    """A run that this process follows, by one version."""

    def __init__(self, asked: Asked, data_dir: Path | None) -> None:
        from foretoken.server.app import local_plane  # noqa: PLC0415
        from foretoken.server.settings import load_settings  # noqa: PLC0415
        from foretoken.server.watched import WatchedRun  # noqa: PLC0415

        settings = load_settings(data_dir=data_dir)
        self._plane = local_plane(settings)
        self._model = self._plane.registry.resolve(asked.model).ref
        self._run = WatchedRun(
            asked.at,
            np.array(asked.quantiles),
            asked.minimize,
            asked.bounds,
            asked.soft_bounds,
            asked.best,
            asked.threshold,
            settings.curve_points,
        )

    def push(self, step: float, value: float) -> Outlook:
        self._run.observe(step, value)
        request = self._run.request()
        if request is None:
            return _Told(None, None)
        (posterior,) = self._plane.predict(self._model, [request])
        return _Told(posterior, self._run.advice(posterior))


def _ahead(horizon: float) -> Floats:
    """At most so many steps up to the horizon, evenly spread, the horizon among them."""
    if not 1 <= horizon < np.inf:
        raise InvalidInput(f"--horizon must be finite and at least 1, not {horizon:g}")
    count = min(MOST_STEPS, int(horizon))
    return np.linspace(horizon / count, horizon, count)


def _observations(lines: Iterable[str]) -> Iterator[tuple[float, float]]:
    """Step and value of each line that is not blank; a line of one number is the next step."""
    step = 0.0
    try:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                parts = [float(part) for part in line.split(",")]
            except ValueError:
                parts = []
            if len(parts) not in (1, 2):
                raise InvalidInput(f"line {number}: {line.strip()!r} is not STEP,VALUE or VALUE")
            step = parts[0] if len(parts) == 2 else step + 1
            yield step, parts[-1]
    except UnicodeDecodeError as e:
        raise InvalidInput(f"the input is not text in UTF-8: {e}") from e
    except OSError as e:
        raise Unavailable(f"cannot read the input: {e.strerror or e}") from e


def _row(step: float, value: float, outlook: Outlook, names: Sequence[str]) -> dict[str, Any]:
    """A row by the names of its columns; what is not known is None."""
    row: dict[str, Any] = {**dict.fromkeys(names), "step": step, "value": value, "advice": None}
    if outlook.posterior is not None:
        found = [outlook.posterior.mean[-1], *outlook.posterior.quantiles[:, -1]]
        row.update(zip(names[2:-1], map(float, found), strict=True))
    if outlook.advice is not None:
        row["chance"] = outlook.advice.chance
        row["advice"] = "stop" if outlook.advice.stop else "go on"
    return row
