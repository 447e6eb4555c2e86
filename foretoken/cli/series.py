"""Series that commands read: columns of a file, or lines of the standard input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from foretoken.cli.files import Floats
from foretoken.cli.tables import Source, open_table
from foretoken.errors import InvalidInput, Unavailable

__all__ = ["line_by_line", "series_of"]

_NUMBERS = ("number", "integer")


def series_of(path: Path, column: str | None, width: int) -> tuple[list[str], Floats]:
    """Columns of numbers in a CSV or Parquet file, and their names.

    Args:
        path: of the file.
        column: names with commas between; None: those that hold numbers, if they are as many as
            the model observes.
        width: numbers that the model observes at a step, D.

    Returns:
        D names, and values, float64 [T, D].

    Raises:
        NotFound: if there is no such file.
        InvalidInput: naming columns or the row, if there is nothing fitting in it.
    """
    table = open_table(path)
    names = _chosen(table, path, column)
    if len(names) != width:
        how = "one column" if width == 1 else f"{width} columns"
        raise InvalidInput(
            f"the model observes {how} of numbers, and {path} has {', '.join(names) or 'none'}; "
            "choose with --column, names with commas between"
        )
    if table.rows == 0:
        raise InvalidInput(f"{path} has no rows")
    (columns,) = table.chunks(table.rows, names)
    values = np.column_stack([columns[name].astype(np.float64) for name in names])
    missing = np.argwhere(~np.isfinite(values))
    if missing.size:
        row, at = missing[0]
        raise InvalidInput(
            f"{path}: column {names[at]!r} has no finite number in row {row + 1}; fill it in, or "
            "leave such rows out"
        )
    return names, values


def _chosen(table: Source, path: Path, column: str | None) -> list[str]:
    numeric = [name for name in table.names if table.kinds.get(name) in _NUMBERS]
    if column is None:
        return numeric
    names = [column] if column in table.names else [part.strip() for part in column.split(",")]
    if unknown := [name for name in names if name not in table.names]:
        raise InvalidInput(f"{path} has no column {unknown[0]!r}; it has {', '.join(table.names)}")
    if other := [name for name in names if name not in numeric]:
        raise InvalidInput(f"{path}: column {other[0]!r} does not hold numbers")
    return names


def line_by_line(lines: Iterable[str], width: int) -> Iterator[Floats]:
    """An observation [1, D] for each line that is not blank: D numbers with commas between.

    Raises:
        InvalidInput: naming the line that is none.
        Unavailable: if the input cannot be read.
    """
    try:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                values = np.array([float(part) for part in line.split(",")])
            except ValueError:
                values = np.empty(0)
            if values.size != width:
                wanted = "a number" if width == 1 else f"{width} numbers with commas between"
                raise InvalidInput(f"line {number}: {line.strip()!r} is not {wanted}")
            yield values[None]
    except UnicodeDecodeError as e:
        raise InvalidInput(f"the input is not text in UTF-8: {e}") from e
    except OSError as e:
        raise Unavailable(f"cannot read the input: {e.strerror or e}") from e
