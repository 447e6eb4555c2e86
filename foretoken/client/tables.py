"""Tables as messages: columns by name, or bytes of Arrow or CSV as they are.

Letters: N rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.arrays import column
from foretoken.client.operations import message
from foretoken.errors import InvalidInput, NotFound
from foretoken.proto import tabular as wire

__all__ = ["Columns", "TableLike", "column_message", "columns_of", "parts_of", "table_message"]

# Columns by name (a mapping, or what has keys() as pandas' frames do), the bytes of an Arrow IPC
# stream or of CSV, or the path of a file of either.
TableLike: TypeAlias = Mapping[str, ArrayLike] | bytes | str | os.PathLike[str] | Any
Columns = dict[str, NDArray[Any]]

CELLS = 1 << 20  # of one message, rows times columns
_STREAM, _FILE = b"\xff\xff\xff\xff", b"ARROW1"  # how Arrow's two formats begin


def table_message(given: TableLike) -> wire.Table:
    """A table as the wire has it.

    Raises:
        InvalidInput: if it is no table; the column is named.
        NotFound: if it is the path of no file.
    """
    if isinstance(given, str | os.PathLike):
        given = _read(Path(given))
    if isinstance(given, bytes | bytearray | memoryview):
        return _raw(bytes(given))
    return columns_message(columns_of(given))


def columns_of(given: Any) -> Columns:
    """Columns by name, all of one length.

    Raises:
        InvalidInput: if there is none, or one is not acceptable.
    """
    if not hasattr(given, "keys") or not hasattr(given, "__getitem__"):
        raise InvalidInput(
            f"a table is columns by name, bytes of Arrow or CSV, or a path, not a "
            f"{type(given).__name__}: for an array, name its columns in a dict"
        )
    made: Columns = {}
    for name in given.keys():  # noqa: SIM118 - a frame's own iteration need not give names
        if not isinstance(name, str):
            raise InvalidInput(f"columns are named by text, not by {name!r}")
        made[name] = column(name, given[name])
    if not made:
        raise InvalidInput("the table has no columns; give at least one")
    lengths = {name: len(values) for name, values in made.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInput(f"columns must have one length, not {lengths}")
    return made


def columns_message(columns: Columns) -> wire.Table:
    """Columns that ``columns_of`` gave, as the wire has them."""
    made = [column_message(name, values) for name, values in columns.items()]
    return wire.Table(columns=wire.Columns(columns=made))


def parts_of(given: TableLike) -> Iterator[wire.Table]:
    """A table in as many messages as it takes; bytes are one."""
    if isinstance(given, bytes | bytearray | memoryview | str | os.PathLike):
        yield table_message(given)
        return
    columns = columns_of(given)
    rows, step = len(next(iter(columns.values()))), max(1, CELLS // len(columns))
    for at in range(0, max(rows, 1), step):
        yield columns_message({name: values[at : at + step] for name, values in columns.items()})


def column_message(name: str, values: NDArray[Any]) -> wire.Column:
    """A column that ``foretoken.arrays.column`` gave.

    Raises:
        InvalidInput: if it holds text that is not Unicode.
    """
    kind = values.dtype.kind
    if kind == "O":
        places: dict[str, int] = {}
        codes = [-1 if v is None else places.setdefault(v, len(places)) for v in values]
        raw = np.array(codes, "<i4").tobytes()
        strings = message(wire.Strings, distinct=list(places), codes=raw)
        return message(wire.Column, name=name, strings=strings)
    if kind == "b":
        return message(wire.Column, name=name, booleans=values.astype("u1").tobytes())
    if kind == "i":
        return message(wire.Column, name=name, integers=values.astype("<i8").tobytes())
    return message(wire.Column, name=name, doubles=values.astype("<f8").tobytes())


def _raw(data: bytes) -> wire.Table:
    if data.startswith(_FILE):
        raise InvalidInput(
            "this is an Arrow file; a table is sent as an Arrow stream, which pyarrow writes with "
            "ipc.new_stream in place of ipc.new_file"
        )
    return wire.Table(arrow=data) if data.startswith(_STREAM) else wire.Table(csv=data)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"no file {path}") from None
    except OSError as e:
        raise InvalidInput(f"{path} cannot be read: {e.strerror}") from e
