"""Tables in files, CSV or Parquet by suffix, read and written some rows at a time.

Every cell of a CSV column is read as the same kind: integer, number, bool or text, whichever fits
the whole file, or what it was in the file that was learned from. An empty cell is missing, and so
is NaN.
"""

from __future__ import annotations

import base64
import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foretoken.cli.files import expect_file, whole
from foretoken.errors import InvalidInput, NotFound, Unavailable
from foretoken.frames import frame_of

__all__ = ["KINDS", "Source", "expect_table", "open_table", "writing"]

Array = NDArray[Any]
Row = Mapping[str, Any]

KINDS = ("csv", "parquet")
_MISSING = frozenset({"", "NaN", "nan"})
_TRUTH = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}


class Source(Protocol):
    """A table in a file.

    Attributes:
        names: of its columns.
        rows: how many there are.
        kinds: of the columns, as CSV may have them; Parquet tells its own, where CSV has the like.
        categorical: columns of Parquet that were written as categories, of numbers or others.
    """

    names: tuple[str, ...]
    rows: int
    kinds: Mapping[str, str]
    categorical: frozenset[str]

    def chunks(self, rows: int, names: Sequence[str]) -> Iterator[dict[str, Array]]:
        """Columns of consecutive rows, so many at a time; see ``foretoken.frames.Frame``.

        Raises:
            InvalidInput: naming file, line and column, for a cell that cannot be read.
        """


def expect_table(path: Path) -> None:
    """Refuse a path that is not of a kind that can be written.

    Raises:
        InvalidInput: then.
    """
    expect_file(path, KINDS)


def open_table(
    path: Path, kinds: Mapping[str, str] | None = None, text: frozenset[str] = frozenset()
) -> Source:
    """The table in a file.

    Args:
        path: of a CSV or Parquet file.
        kinds: of columns of CSV, where they are known.
        text: columns of CSV that are text whatever they hold.

    Raises:
        NotFound: if there is no such file.
        InvalidInput: if it is neither, or damaged; CSV: naming the line.
        Unavailable: if it cannot be read.
    """
    if not path.is_file():
        raise NotFound(f"no file {path}")
    expect_table(path)
    if path.suffix.lower() == ".parquet":
        return _Parquet(path)
    return _Csv(path, {**(kinds or {}), **dict.fromkeys(text, "text")})


@contextmanager
def writing(path: Path, names: Sequence[str]) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Yields what appends rows; the file is there once the block has ended well, else not at all.

    Raises:
        InvalidInput, Unavailable: if it cannot be written.
    """
    expect_table(path)
    with whole(path) as temporary:
        if path.suffix.lower() == ".parquet":
            with _parquet_writer(temporary) as write:
                yield write
            return
        with temporary.open("w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, names)
            writer.writeheader()
            yield lambda rows: writer.writerows(map(_said, rows))


def _said(row: Row) -> dict[str, Any]:
    return {k: f"{v:.12g}" if isinstance(v, float) else v for k, v in row.items()}


@contextmanager
def _parquet_writer(path: Path) -> Iterator[Callable[[Sequence[Row]], None]]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    writers: list[Any] = []

    def write(rows: Sequence[Row]) -> None:
        table = pa.Table.from_pylist(list(rows))
        if not writers:
            writers.append(pq.ParquetWriter(path, table.schema))
        writers[0].write_table(table)

    try:
        yield write
    finally:
        for writer in writers:
            writer.close()


class _Csv:
    categorical: frozenset[str] = frozenset()

    def __init__(self, path: Path, kinds: Mapping[str, str]) -> None:
        self._path = path
        with _lines(path) as lines:
            self.names = tuple(next(lines, (0, []))[1])
            self._expect_names()
            possible = {name: _Kind() for name in self.names}
            self.rows = 0
            for line, row in lines:
                self._expect_whole(line, row)
                self.rows += 1
                for name, cell in zip(self.names, row, strict=True):
                    if name not in kinds:
                        possible[name].see(line, cell)
        self._expect_finite(possible)
        found = {name: kind.name for name, kind in possible.items()}
        self.kinds: Mapping[str, str] = {**found, **{n: k for n, k in kinds.items() if n in found}}

    def chunks(self, rows: int, names: Sequence[str]) -> Iterator[dict[str, Array]]:
        places = {name: self.names.index(name) for name in names}
        with _lines(self._path) as lines:
            next(lines)
            while part := list(islice(lines, rows)):
                for line, row in part:
                    self._expect_whole(line, row)  # it may have changed since
                yield {
                    name: self._column(name, [(line, row[j].strip()) for line, row in part])
                    for name, j in places.items()
                }

    def _column(self, name: str, cells: Sequence[tuple[int, str]]) -> Array:
        kind = self.kinds[name]
        made: list[Any] = []
        for line, cell in cells:
            if cell in _MISSING:
                made.append(None)
                continue
            value = _parsed(kind, cell)
            if value is None:
                raise InvalidInput(
                    f"{self._path}, line {line}: {cell!r} in column {name!r} is not {_wanted(kind)}"
                )
            made.append(value)
        if kind == "text":
            return np.array([*made, None], object)[:-1]
        if None in made or kind == "number":
            return np.array([np.nan if v is None else float(v) for v in made], np.float64)
        return np.array(made, np.bool_ if kind == "bool" else np.int64)

    def _expect_finite(self, possible: Mapping[str, _Kind]) -> None:
        for name, kind in possible.items():
            if kind.infinite is not None:
                line, cell = kind.infinite
                raise InvalidInput(
                    f"{self._path}, line {line}: {cell!r} in column {name!r} is not a finite "
                    f"number: leave it empty, or pass --text {name}"
                )

    def _expect_names(self) -> None:
        if not any(self.names):
            raise InvalidInput(f"{self._path} is empty; its first line names the columns")
        if len(self.names) == 1 and any(mark in self.names[0] for mark in ";\t|"):
            raise InvalidInput(
                f"{self._path}, line 1: {self.names[0]!r} has no commas, which separate the cells "
                "of a CSV file; write it with commas"
            )
        if len(set(self.names)) < len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise InvalidInput(f"{self._path}: columns have the same name: {twice}; rename them")

    def _expect_whole(self, line: int, row: Sequence[str]) -> None:
        if len(row) != len(self.names):
            raise InvalidInput(
                f"{self._path}, line {line}: {len(row)} cells, but {len(self.names)} columns are "
                "named in line 1; quote cells that hold commas"
            )


class _Kind:
    """What every cell of a column could be, so far."""

    _NARROWEST = ("integer", "number", "bool")

    def __init__(self) -> None:
        self._left = list(self._NARROWEST)
        self._seen, self._numbers = False, True
        self._infinite: tuple[int, str] | None = None

    def see(self, line: int, cell: str) -> None:
        cell = cell.strip()
        if not (self._left or self._numbers) or cell in _MISSING:
            return
        self._seen = True
        self._left = [kind for kind in self._left if _parsed(kind, cell) is not None]
        value = _number(cell)
        self._numbers = self._numbers and value is not None
        if self._infinite is None and value is not None and not math.isfinite(value):
            self._infinite = line, cell

    @property
    def name(self) -> str:
        return self._left[0] if self._left and self._seen else "text"

    @property
    def infinite(self) -> tuple[int, str] | None:
        """Line and text of the first infinite one among numbers."""
        return self._infinite if self._numbers else None


def _parsed(kind: str, cell: str) -> Any:
    """The cell as ``kind``; None if it is none."""
    if kind == "text":
        return cell
    if kind == "bool":
        return _TRUTH.get(cell)
    if kind == "integer":
        try:
            whole_number = int(cell)
        except ValueError:
            return None
        return whole_number if abs(whole_number) < 1 << 63 else None
    value = _number(cell)
    # What is infinite would be refused later, without its line.
    return value if value is not None and math.isfinite(value) else None


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _wanted(kind: str) -> str:
    return {"number": "a finite number", "integer": "an integer", "bool": "true or false"}[kind]


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Rows, with the number of the line that they end in."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as f:
            reader = csv.reader(f, strict=True)
            yield ((reader.line_num, row) for row in _rows(reader))
    except (UnicodeDecodeError, csv.Error) as e:
        raise InvalidInput(f"{path} is not a CSV file in UTF-8: {e}; save it as such") from e
    except OSError as e:
        raise Unavailable(f"cannot read {path}: {e.strerror or e}") from e


def _rows(reader: Iterable[list[str]]) -> Iterator[list[str]]:
    """Rows without blank lines; but in a table of one column such a line is a missing value."""
    columns = 0
    for row in reader:
        if row:
            columns = columns or len(row)
            yield row
        elif columns == 1:
            yield [""]


def _dictionaries(file: Any) -> frozenset[str]:
    """Columns that were dictionaries when they were written; of numbers, Parquet keeps no other."""
    import pyarrow as pa  # noqa: PLC0415

    said = (file.metadata.metadata or {}).get(b"ARROW:schema", b"")
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(said, validate=True)))
    except (pa.ArrowException, OSError, ValueError):  # another writer's, which says nothing of it
        return frozenset()
    return frozenset(field.name for field in schema if pa.types.is_dictionary(field.type))


def _kinds(schema: Any) -> dict[str, str]:
    """What columns of Parquet would be in CSV."""
    from pyarrow import types  # noqa: PLC0415

    made: dict[str, str] = {}
    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        if types.is_string(kind) or types.is_large_string(kind):
            made[field.name] = "text"
        elif types.is_boolean(kind):
            made[field.name] = "bool"
        elif types.is_integer(kind) or types.is_floating(kind):
            made[field.name] = "number"
    return made


def _index(schema: Any) -> frozenset[str]:
    """Columns of Parquet that pandas wrote for the index of a frame; it is no column there."""
    try:
        told = schema.pandas_metadata or {}
    except ValueError:  # what is there is not JSON
        return frozenset()
    # A range is kept as a dict, and takes no column.
    return frozenset(name for name in told.get("index_columns", ()) if isinstance(name, str))


class _Parquet:
    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._path = path
        with self._guarded(0):
            self._file = pq.ParquetFile(path)
        index = _index(self._file.schema_arrow)
        self.names = tuple(n for n in self._file.schema_arrow.names if n not in index)
        self.rows = int(self._file.metadata.num_rows)
        self.categorical = _dictionaries(self._file).intersection(self.names)
        self.kinds: Mapping[str, str] = _kinds(self._file.schema_arrow)

    def chunks(self, rows: int, names: Sequence[str]) -> Iterator[dict[str, Array]]:
        batches: Iterable[Any] = self._file.iter_batches(rows, columns=list(names))
        start = 0
        for batch in batches:
            with self._guarded(start):
                columns = frame_of(batch).columns
            yield {name: columns[name] for name in names}
            start += batch.num_rows

    @contextmanager
    def _guarded(self, start: int) -> Iterator[None]:
        import pyarrow as pa  # noqa: PLC0415

        try:
            yield
        except InvalidInput as e:
            where = f", rows from {start}" if start else ""
            raise InvalidInput(f"{self._path}{where}: {e}") from e
        except (pa.ArrowException, OSError) as e:
            raise InvalidInput(f"{self._path} is not a Parquet file: {e}") from e
