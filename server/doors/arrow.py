"""Arrow streams and CSV to columns; pyarrow is imported when the first one comes.

Everything that a sender can announce is checked before it is believed. N: rows.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.server.doors.arrow_header import announced

__all__ = ["Sizes", "from_arrow", "from_csv"]

Sizes = Callable[[int, int], None]  # refuses a table of so many rows and columns
Columns = dict[str, Array]

MISSING = ("", "NaN", "nan")  # of CSV
_FORM = (
    "CSV is UTF-8 with commas, its first line names the columns, and every line has as many fields "
    "as that"
)
_TRUTH = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}


def from_arrow(data: bytes, expect: Sizes) -> Columns:
    """The columns of an Arrow IPC stream.

    Raises:
        InvalidInput: if it is damaged or too large, or a column is of a type that no table has.
    """
    said = announced(data)
    expect(said.rows, said.columns)
    expect(said.entries, 1)
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.ipc  # noqa: PLC0415

    try:
        with pyarrow.ipc.open_stream(pa.py_buffer(data)) as reader:
            names: Sequence[str] = reader.schema.names
            _expect_unlike(names)
            for field in reader.schema:
                _expect_type(pa, field)
            table = reader.read_all()
        table.validate(full=True)
        return {name: _column(pa, name, table.column(i)) for i, name in enumerate(names)}
    except (pa.ArrowException, OSError, TypeError, ValueError, OverflowError, MemoryError) as e:
        if isinstance(e, InvalidInput):
            raise
        raise InvalidInput(
            f"the Arrow stream is damaged: {_line(e)}; write it by pyarrow.ipc.new_stream"
        ) from e


def from_csv(data: bytes, expect: Sizes, texts: frozenset[str] = frozenset()) -> Columns:
    """The columns of a CSV file; each is integer, real, bool or text, whichever fits all of it.

    Args:
        data: the file.
        expect: refuses sizes.
        texts: columns that are text, whatever fits.

    Raises:
        InvalidInput: if it is not UTF-8, is too large, or its lines differ in length.
    """
    header = _header(data, expect)
    expect(max(data.count(b"\n"), data.count(b"\r")), len(header))
    _expect_unlike(header)
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv as reader  # noqa: PLC0415

    try:
        table = reader.read_csv(
            pa.py_buffer(data),
            reader.ReadOptions(use_threads=False, autogenerate_column_names=True),
            # Of one column, an empty line is a missing value: to skip it would shift the answers.
            reader.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(header) > 1),
            reader.ConvertOptions(
                column_types={f"f{i}": pa.string() for i in range(len(header))},
                null_values=MISSING,
                strings_can_be_null=True,
            ),
        ).slice(1)  # the first line is the names
    except (pa.ArrowException, OSError, ValueError) as e:
        raise InvalidInput(f"the CSV cannot be read: {_line(e)}; {_FORM}") from e
    if table.num_columns != len(header):
        raise InvalidInput("the CSV's first line cannot be read; quote names that hold quotes")
    columns = zip(header, table.columns, strict=True)
    return {
        name: _objects(column.to_pylist()) if name in texts else _parsed(pa, column)
        for name, column in columns
    }


def _header(data: bytes, expect: Sizes) -> list[str]:
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")
    try:
        names = next(csv.reader(_narrow(text, expect), strict=True), [])
    except (csv.Error, UnicodeDecodeError) as e:
        raise InvalidInput(f"the CSV's first line cannot be read: {_line(e)}; {_FORM}") from e
    if not names:
        raise InvalidInput("the CSV is empty; its first line names the columns")
    return names


def _narrow(lines: Iterable[str], expect: Sizes) -> Iterator[str]:
    """The lines, refused before they are taken apart if they could name too many columns."""
    commas = 0
    for line in lines:
        commas += line.count(",")
        expect(0, commas + 1)
        yield line


def _expect_unlike(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = sorted(name for name, times in Counter(names).items() if times > 1)[:5]
        raise InvalidInput(f"columns have the same name: {twice}; name each differently")


def _parsed(pa: Any, texts: Any) -> Array:
    """A column of texts as what they say."""
    from pyarrow import compute  # noqa: PLC0415

    trimmed = compute.utf8_trim_whitespace(texts)
    present = compute.drop_null(trimmed)
    if not len(present):
        return np.full(len(texts), None, object)
    for kind in (pa.int64(), pa.float64()):
        try:
            present.cast(kind)
        except pa.ArrowInvalid:
            continue
        return _numbers(pa, trimmed.cast(kind))
    if set(compute.unique(present).to_pylist()[: len(_TRUTH) + 1]) <= set(_TRUTH):
        said = [None if value is None else _TRUTH[value] for value in trimmed.to_pylist()]
        return _numbers(pa, pa.chunked_array([pa.array(said, pa.bool_())]))
    return _objects(texts.to_pylist())


def _expect_type(pa: Any, field: Any) -> None:
    kind, types = field.type, pa.types
    numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    if numeric or types.is_null(kind) or _is_text(types, kind):
        return
    if types.is_dictionary(kind) and _is_text(types, kind.value_type):
        return
    cures = (
        (types.is_temporal, "cast it to a number, such as days since some date, or to a string"),
        (types.is_decimal, "cast it to float64"),
        (types.is_dictionary, "cast it to the type of its values"),
        (types.is_nested, "make a column of each of its parts"),
    )
    cure = next((text for of, text in cures if of(kind)), "cast it to a number or a string")
    raise InvalidInput(f"column {field.name!r} is of Arrow's type {kind}; {cure}")


def _is_text(types: Any, kind: Any) -> bool:
    view = getattr(types, "is_string_view", None)
    return bool(types.is_string(kind) or types.is_large_string(kind) or (view and view(kind)))


def _column(pa: Any, name: str, column: Any) -> Array:
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), None, object)
    if pa.types.is_dictionary(kind):
        return _objects([v for chunk in column.chunks for v in _entries(chunk)])
    if _is_text(pa.types, kind):
        return _objects(column.to_pylist())
    if pa.types.is_uint64(kind):
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid as e:
            raise InvalidInput(
                f"column {name!r} holds integers beyond 63 bits; cast it to float64 or a string"
            ) from e
    return _numbers(pa, column)


def _entries(chunk: Any) -> list[str | None]:
    """The texts of a chunk of a dictionary column, each of them one object."""
    known = chunk.dictionary.to_pylist()
    return [None if place is None else known[place] for place in chunk.indices.to_pylist()]


def _numbers(pa: Any, column: Any) -> Array:
    """A column of numbers or bools; where one is missing, of doubles."""
    if column.null_count or pa.types.is_floating(column.type):
        if pa.types.is_boolean(column.type) or pa.types.is_float16(column.type):
            column = column.cast(pa.int8() if column.null_count else pa.float32())
        column = column.cast(pa.float64(), safe=False)
    elif pa.types.is_integer(column.type):
        column = column.cast(pa.int64())
    made: Array = column.to_numpy()
    return made


def _line(error: BaseException) -> str:
    """What is wrong, on one line that is not too long."""
    return " ".join(str(error).split())[:200]


def _objects(values: Sequence[str | None]) -> Array:
    made = np.empty(len(values), object)
    made[:] = values
    return made
