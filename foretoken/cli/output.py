"""What commands print: tables or JSON on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from foretoken.errors import CallerError, ForetokenError

__all__ = [
    "Bar",
    "guarded",
    "progress",
    "show",
    "show_line",
    "show_record",
    "show_table",
    "track",
    "work",
]

T = TypeVar("T")
Row = Mapping[str, Any]
Bar = Callable[[float], None]  # takes a fraction from 0 to 1

CALLER, OURS, INTERRUPTED = 2, 1, 130  # exit statuses
_PIPE_WIDTH = 200  # columns where there is no terminal, so that pipes get whole cells


def show(message: str, *, as_json: bool = False, **fields: Any) -> None:
    """Print one line for people, or ``fields`` as a JSON object."""
    if as_json:
        _print_json(fields)
    else:
        _console().print(Text(message), soft_wrap=True)


def show_table(
    rows: Sequence[Row], *, title: str, as_json: bool, columns: Sequence[str] | None = None
) -> None:
    """Print rows as a table, or as a JSON list.

    Args:
        rows: all with the same keys.
        title: above the table.
        as_json: print all fields of the rows as JSON instead.
        columns: those to show in the table, in that order; the default is all.
    """
    if as_json:
        _print_json(list(rows))
        return
    if not rows:
        _console().print(Text(f"{title}: none"))
        return
    table = Table(title=Text(title), title_justify="left")
    shown = list(rows[0]) if columns is None else columns
    for column in shown:
        number = all(isinstance(row[column], (int, float)) for row in rows)
        table.add_column(Text(column.replace("_", " ")), justify="right" if number else "left")
    for row in rows:
        table.add_row(*(Text(_cell(row[column])) for column in shown))
    _console().print(table)


def show_line(cells: Sequence[Any]) -> None:
    """Print one row of a table that grows, at once."""
    sys.stdout.write("  ".join(f"{_cell(cell):>10}" for cell in cells).rstrip() + "\n")
    sys.stdout.flush()


def show_record(record: Row, *, title: str, as_json: bool) -> None:
    """Print one record, a field to a line, or as a JSON object."""
    if as_json:
        _print_json(record)
        return
    table = Table(title=Text(title), title_justify="left", show_header=False)
    for name, value in record.items():
        cell = _cell(value, between="\n")
        table.add_row(Text(name.replace("_", " "), style="bold"), Text(cell))
    _console().print(table)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def _cell(value: Any, between: str = ", ") -> str:
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return between.join(f"{key}: {_cell(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return between.join(map(_cell, value))
    return str(value)


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_PIPE_WIDTH)


@contextmanager
def guarded() -> Iterator[None]:
    """Turn an error of ours into one red line on stderr and an exit status.

    Raises:
        SystemExit: with 2 for the caller's errors, 1 for others, 130 for Ctrl-C.
    """
    try:
        yield
    except ForetokenError as e:
        line = " ".join(str(e).split())
        _console(stderr=True).print(Text(f"error: {line}", style="red"), soft_wrap=True)
        raise SystemExit(CALLER if isinstance(e, CallerError) else OURS) from e
    except KeyboardInterrupt as e:
        _console(stderr=True).print(Text("interrupted", style="red"))
        raise SystemExit(INTERRUPTED) from e


@contextmanager
def progress(description: str) -> Iterator[Bar]:
    """A bar on stderr while the block runs; yields what sets it to a fraction from 0 to 1."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = _console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(description, total=1.0)
        yield lambda done: bar.update(task, completed=done)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Pass ``items`` on while a bar on stderr counts them."""
    console = _console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        yield from bar.track(items, total=total, description=description)


@contextmanager
def work(description: str) -> Iterator[None]:
    """A moving sign on stderr while the block runs, for work of unknown length."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(Text(description)):
        yield
