"""``foretoken stream``."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from foretoken.cli import files
from foretoken.cli.curves import numbers_of
from foretoken.cli.layout import Forecast, Layout, levels_of
from foretoken.cli.live import heard
from foretoken.cli.output import show
from foretoken.cli.registry import DataDir, Json
from foretoken.cli.remote import Server
from foretoken.cli.series import line_by_line, series_of
from foretoken.cli.sessions import Asked, Stepped, opened, resumed
from foretoken.cli.tables import expect_table, writing
from foretoken.errors import InvalidInput

if TYPE_CHECKING:
    from foretoken.cli.plot import Streamed

STDIN = "-"
BATCH = 32  # steps of one message, of a file


def stream(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="NAME, NAME:VERSION or ALIAS@NAME; not needed with --resume.",
        ),
    ] = None,
    csv: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="CSV or Parquet; - reads a value a line from standard input."
        ),
    ] = STDIN,
    column: Annotated[
        str | None,
        typer.Option(
            help="What to observe; the default is the only column of numbers. Models that observe "
            "several numbers a step take names with commas between."
        ),
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Steps to forecast; --out then holds all of them.")
    ] = None,
    quantiles: Annotated[
        str | None, typer.Option(help="Levels to forecast, with commas between.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help=f"Steps of one message; {BATCH} of a file, 1 of lines."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write a row a step: CSV or Parquet.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the series and its forecasts: PNG, SVG or PDF.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="DIGEST|FILE", help="Go on from a snapshot."),
    ] = None,
    snapshot_out: Annotated[
        Path | None, typer.Option(help="Write a snapshot of the state at the end to this file.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep a snapshot of the state at the end.")
    ] = False,
    durable: Annotated[
        bool, typer.Option("--durable", help="Go on by itself when the server is lost.")
    ] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bits whatever else is going on.")
    ] = False,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Step a model through a series, and tell what it makes of each value.

    Of a file, a row is shown for each message; --json prints an object for each value.
    """
    for path, check in ((out, expect_table), (plot, _expect_picture), (snapshot_out, _expect)):
        if path is not None:
            check(path)
    if not model and resume is None:
        raise InvalidInput("give a model, or --resume with a snapshot")
    options: dict[str, float | str] = {}
    if horizon is not None:
        options["horizon"] = float(horizon)
    if quantiles is not None:
        options["quantiles"] = ",".join(f"{level:.12g}" for level in numbers_of("q", quantiles))
    asked = Asked(model or "", resumed(resume), durable, deterministic, options)
    with opened(asked, server, data_dir) as session:
        read = _Read(csv, column, session.width, batch)
        picture = None if plot is None else _picture(session)
        whole = horizon is not None
        told = _told(session, read, out, picture, whole=whole, as_json=as_json)
        digest = data = None
        if keep or snapshot_out is not None:
            digest, data = session.snapshot(keep=keep)
        step = session.step
    if snapshot_out is not None and data is not None:
        with files.whole(snapshot_out) as temporary:
            temporary.write_bytes(data)
    if plot is not None and picture is not None:
        from foretoken.cli.plot import plot_stream  # noqa: PLC0415 - matplotlib is slow to import

        plot_stream(plot, picture, f"{read.title}: {told} steps by {session.ref}")
    if digest is not None:
        show(f"Kept at step {step} as {digest}.", as_json=as_json, snapshot=digest, step=step)


class _Read:
    """What is observed: a file's columns, or lines as they come."""

    def __init__(self, csv: str, column: str | None, width: int, batch: int | None) -> None:
        self._width = width
        self.names = ["value"] if width == 1 else [f"value_{i}" for i in range(width)]
        self.title, self.total, self._values = "standard input", None, None
        self._batch = batch or (1 if csv == STDIN else BATCH)
        if csv != STDIN:
            path = Path(csv)
            named, self._values = series_of(path, column, width)
            # Under its own name, unless that is a column of what is told.
            self.names = self.names if width == 1 else named
            self.title, self.total = f"{path.name}, {', '.join(named)}", len(self._values)
        elif column is not None:
            raise InvalidInput("--column chooses columns of a file; lines have none")

    def parts(self) -> Iterator[files.Floats]:
        """Observations of one message after the other, each [T, D]."""
        size = self._batch
        if self._values is not None:
            yield from np.split(self._values, range(size, len(self._values), size))
            return
        lines = line_by_line(sys.stdin, self._width)
        while some := list(itertools.islice(lines, size)):
            yield np.concatenate(some)


def _told(
    session: Stepped,
    read: _Read,
    out: Path | None,
    picture: Streamed | None,
    *,
    whole: bool,
    as_json: bool,
) -> int:
    """Step through all there is, and tell of it on the way; returns how many steps that were."""
    levels, count = levels_of(session.options), 0
    parts = read.parts()
    first = next(parts, None)
    if first is None:
        raise InvalidInput(f"{read.title} has no values")
    outputs = session.push(first)
    layout = Layout(read.names, outputs, levels, whole=whole)
    with ExitStack() as stack:
        write = None if out is None else stack.enter_context(writing(out, layout.names))
        shown = _shown(layout.names, levels)
        title = f"{read.title}, by {session.ref}"
        hear = stack.enter_context(heard(title, read.total, shown, as_json=as_json))
        for values in itertools.chain([first], parts):
            if count:
                outputs = session.push(values)
            rows = layout.rows(session.step - len(values) + 1, values, outputs)
            hear(rows)
            if write is not None:
                write(rows)
            if picture is not None:
                picture.add(values[:, 0], outputs)
            count += len(values)
    return count


def _shown(names: Sequence[str], levels: Sequence[float]) -> list[str]:
    """Columns for people: of a forecast, the next step's median and its outer levels."""
    if not any(name.startswith("q") for name in names) or not levels:
        return list(names)
    first = "" if f"q{levels[0]:g}" in names else "_1"
    among = Forecast.of(levels)
    told = dict.fromkeys((among.low, among.median, among.high))
    kept = [name for name in names if not name.startswith("q")]
    return [*kept, *(f"q{levels[i]:g}{first}" for i in told)]


def _picture(session: Stepped) -> Streamed:
    from foretoken.cli.plot import Streamed  # noqa: PLC0415

    levels = levels_of(session.options)
    if not levels or session.width != 1:
        raise InvalidInput(f"--plot draws forecasts of one number, and {session.ref} makes none")
    return Streamed(levels, session.step)


def _expect_picture(path: Path) -> None:
    files.expect_file(path, files.PICTURES)


def _expect(path: Path) -> None:
    files.expect_file(path)
