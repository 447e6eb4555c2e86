"""Reading what users bring as CSV, and writing files whole or not at all."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import ForetokenError, InvalidInput, NotFound, Unavailable

Floats = NDArray[np.float64]
EXPECTED = "the columns step,value or one of values"
PICTURES = ("png", "svg", "pdf")


def read_curve(path: Path) -> tuple[Floats, Floats]:
    """Steps and values of a CSV file: columns ``step,value`` by name, or one column of values.

    Columns beside ``step`` and ``value`` are passed over. Two columns of numbers need no header.

    Raises:
        NotFound: if there is no such file.
        InvalidInput: naming the line that is not a number, or the columns that are missing.
        Unavailable: if the file cannot be read.
    """
    rows = _rows(path)
    if not rows:
        raise InvalidInput(f"{path} is empty; expected {EXPECTED}")
    header = [cell.strip().lower() for cell in rows[0][1]]
    if all(map(_is_number, header)) and len(header) <= 2:
        body, names = rows, ["step", "value"][-len(header) :]
    else:
        body, names = rows[1:], ["value"] if _one_of_values(header) else header
    if not _unambiguous(names):
        raise InvalidInput(f"{path} {_complaint(header)}; expected {EXPECTED}")
    if not body:
        raise InvalidInput(f"{path} has a header but no values")
    values = _column(path, body, names.index("value"))
    if "step" not in names:
        return np.arange(1.0, len(values) + 1), values
    return _column(path, body, names.index("step")), values


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Each row that is not blank, with the number of its line in the file."""
    if not path.is_file():
        raise NotFound(f"no file {path}")
    try:
        # Spreadsheets put a byte order mark before the first name.
        with path.open(encoding="utf-8-sig", newline="") as f:
            reader = csv.reader(f)
            return [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as e:
        raise InvalidInput(f"{path} is not a CSV file in UTF-8: {e}") from e
    except OSError as e:
        raise Unavailable(f"cannot read {path}: {e.strerror or e}") from e


def _one_of_values(header: Sequence[str]) -> bool:
    """Whether the header names one column, whose name then does not matter."""
    return len(header) == 1 and header[0] != "step" and not any(m in header[0] for m in ";\t")


def _unambiguous(names: Sequence[str]) -> bool:
    # Any further column may be the steps, so values without named steps must stand alone.
    return names.count("value") == 1 and (len(names) == 1 or names.count("step") == 1)


def _complaint(header: Sequence[str]) -> str:
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(mark in cell for cell in header):
            return f"has {name} where a comma is needed between columns"
    return f"has the columns {', '.join(header)}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _column(path: Path, rows: Sequence[tuple[int, Sequence[str]]], index: int) -> Floats:
    numbers = []
    for line, row in rows:
        if len(row) <= index:
            raise InvalidInput(
                f"{path}, line {line}: {','.join(row)!r} has no column {index + 1}, "
                "where a number is needed"
            )
        if not _is_number(row[index]):
            raise InvalidInput(
                f"{path}, line {line}: {row[index]!r} in column {index + 1} is not a number"
            )
        numbers.append(float(row[index]))
    return np.array(numbers)


def expect_file(path: Path, kinds: Sequence[str] = ()) -> None:
    """Refuse a path that cannot be written as a file, before any work is done for it.

    Args:
        path: to be written.
        kinds: accepted suffixes without their dots; none accepts any.

    Raises:
        InvalidInput: if it is a folder or of another kind.
    """
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; name a file to write")
    if kinds and path.suffix.lower().removeprefix(".") not in kinds:
        raise InvalidInput(f"{path} must end in one of .{', .'.join(kinds)}")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place at the end, and vanishes on failure.

    Raises:
        InvalidInput: if ``path`` is a folder.
        Unavailable: if it cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}") if path.name else path
    try:
        expect_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except ForetokenError:
        raise  # one of them is an OSError too
    except OSError as e:
        raise Unavailable(f"cannot write {path}: {e.strerror or e}") from e


def write_csv(path: Path, names: Sequence[str], table: Floats) -> None:
    """Write ``table`` [rows, columns] under a header."""
    with whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(names)
        writer.writerows([f"{x:.12g}" for x in row] for row in table)
