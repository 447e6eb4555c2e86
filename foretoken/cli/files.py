"""Reading what users bring as CSV, and writing files whole or not at all."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InvalidInput, NotFound

Floats = NDArray[np.float64]


def read_curve(path: Path) -> tuple[Floats, Floats]:
    """Steps and values of a CSV file: columns ``step,value`` by name, or one column of values.

    Raises:
        NotFound: if there is no such file.
        InvalidInput: naming the line that is not a number, or the columns that are missing.
    """
    if not path.is_file():
        raise NotFound(f"no file {path}")
    try:
        rows = [row for row in csv.reader(path.read_text("utf-8").splitlines()) if row]
    except (UnicodeDecodeError, csv.Error) as e:
        raise InvalidInput(f"{path} is not a CSV file in UTF-8: {e}") from e
    if not rows:
        raise InvalidInput(f"{path} is empty; expected the columns step,value or one of values")
    header = [cell.strip().lower() for cell in rows[0]]
    named = {name: i for i, name in enumerate(header)}
    if "value" in named:
        rows = rows[1:]
        columns = [named.get("step"), named["value"]]
    elif len(header) == 1:
        rows = rows if _is_number(header[0]) else rows[1:]
        columns = [None, 0]
    elif len(header) == 2 and all(map(_is_number, header)):
        columns = [0, 1]
    else:
        raise InvalidInput(
            f"{path} has the columns {', '.join(header)}; expected step,value or one of values"
        )
    values = _column(path, rows, columns[1] or 0)
    steps = np.arange(1.0, len(values) + 1)
    return (steps if columns[0] is None else _column(path, rows, columns[0])), values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _column(path: Path, rows: Sequence[Sequence[str]], index: int) -> Floats:
    if not rows:
        raise InvalidInput(f"{path} has a header but no values")
    numbers = []
    for number, row in enumerate(rows, 1):
        if len(row) <= index or not _is_number(row[index]):
            raise InvalidInput(f"{path}: row {number} ({','.join(row)}) is not a number as needed")
        numbers.append(float(row[index]))
    return np.array(numbers)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place at the end, and vanishes on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_csv(path: Path, names: Sequence[str], table: Floats) -> None:
    """Write ``table`` [rows, columns] under a header."""
    with whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(names)
        writer.writerows([f"{x:.8g}" for x in row] for row in table)
