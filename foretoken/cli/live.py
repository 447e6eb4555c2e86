"""A session as it goes on: a table that changes in a terminal, lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from foretoken.cli.output import show_line

__all__ = ["Heard", "heard"]

Row = Mapping[str, Any]
Heard = Callable[[Sequence[Row]], None]  # is told of the rows of one message

ODDEST = 5  # observations of the highest anomaly that are shown
ANOMALY = "anomaly"
_MOST = 8  # columns of a table


@contextmanager
def heard(title: str, total: int | None, shown: Sequence[str], *, as_json: bool) -> Iterator[Heard]:
    """What shows rows as they come.

    Args:
        title: of the table.
        total: rows there will be, if that is known.
        shown: columns for people; of many, the first ones.
        as_json: print every row as a JSON object instead.
    """
    names = list(shown)[:_MOST]
    if as_json:
        yield _as_json
        return
    console = Console()
    if not console.is_terminal:
        show_line(names)
        yield lambda rows: show_line([rows[-1][name] for name in names])
        return
    board = _Board(title, total, names)
    with Live(board.drawn(), console=console, refresh_per_second=8) as live:

        def hear(rows: Sequence[Row]) -> None:
            board.hear(rows)
            live.update(board.drawn())

        yield hear


def _as_json(rows: Sequence[Row]) -> None:
    sys.stdout.writelines(json.dumps(row) + "\n" for row in rows)
    sys.stdout.flush()


class _Board:
    """The newest observations, and the oddest."""

    def __init__(self, title: str, total: int | None, names: Sequence[str]) -> None:
        self._title, self._total, self._names = title, total, names
        self._newest: list[Row] = []
        self._oddest: list[Row] = []
        self._count, self._began = 0, time.monotonic()

    def hear(self, rows: Sequence[Row]) -> None:
        self._count += len(rows)
        self._newest = [*self._newest, *rows][-ODDEST:]
        if ANOMALY in self._names:
            ranked = sorted([*self._oddest, *rows], key=lambda row: row[ANOMALY], reverse=True)
            self._oddest = ranked[:ODDEST]

    def drawn(self) -> Group:
        rate = self._count / max(time.monotonic() - self._began, 1e-3)
        of = "" if self._total is None else f" of {self._total:,}"
        title = f"{self._title}: {self._count:,}{of} observations, {rate:,.0f} a second"
        parts: list[RenderableType] = [Text(title), self._table(self._newest)]
        if self._oddest:
            parts += [Text("The least expected:"), self._table(self._oddest)]
        return Group(*parts)

    def _table(self, rows: Sequence[Row]) -> Table:
        table = Table()
        for name in self._names:
            table.add_column(Text(name), justify="right")
        for row in rows:
            table.add_row(*(f"{row[name]:.6g}" for name in self._names))
        return table
