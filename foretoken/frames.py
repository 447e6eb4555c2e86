"""Tables of any library as columns by name; the libraries are not imported for it.

Known by what they offer: frames of pandas and polars, tables and record batches of Arrow, whatever
exports an Arrow stream, structured arrays and mappings of columns. Arrays and lists of rows have
no names: their columns are called x0, x1 and so on.

Letters: N rows, F columns.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretoken.arrays import column
from foretoken.errors import InvalidInput, InvalidType

__all__ = ["Frame", "frame_of", "is_frame", "unmasked"]

Array = NDArray[Any]

_DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
_DATES_CURE = (
    "give numbers, such as days since a fixed date, or year, month and weekday as columns of "
    "their own"
)
_MISSING = frozenset({"NAType", "NaTType"})  # of pandas


@dataclass(frozen=True)
class Frame:
    """A table.

    Args:
        columns: by name, each [N]: float64, int64, bool, or object holding str and None. A missing
            number is NaN; bools of which some are missing are numbers; a column without any value
            is of objects.
        named: whether the names are the caller's.
        categorical: names of columns of numbers that came as categories.
        rows: N.
    """

    columns: Mapping[str, Array]
    named: bool
    categorical: frozenset[str]
    rows: int

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns, in order."""
        return tuple(self.columns)

    def parts(self, rows: int) -> Iterator[dict[str, Array]]:
        """The columns of consecutive rows, so many at a time."""
        for start in range(0, self.rows, rows):
            yield {name: c[start : start + rows] for name, c in self.columns.items()}


def is_frame(given: Any) -> bool:
    """Whether ``given`` is a table whose columns have names."""
    if isinstance(given, np.ndarray):
        return given.dtype.names is not None
    if hasattr(given, "tocsr"):
        return False  # a sparse matrix, which may also be a mapping
    offers = ("iloc", "get_columns", "column_names", "__arrow_c_stream__")
    return isinstance(given, Mapping) or (
        any(hasattr(given, name) for name in offers) and not _one_column(given)
    )


def frame_of(given: Any) -> Frame:
    """The table that ``given`` holds.

    Args:
        given: see the module; an array or list of rows is [N, F].

    Raises:
        InvalidType: it is no table, or a cell holds what is no value of one.
        InvalidInput: names are not unique, columns differ in length, or one is of mixed kinds, of
            dates, of complex numbers or infinite; the message names column and row.
    """
    named = is_frame(given)
    pairs = list(_columns(given) if named else _positional(given))
    names = _names([name for name, _ in pairs])
    columns: dict[str, Array] = {}
    categorical: set[str] = set()
    for name, (_, values) in zip(names, pairs, strict=True):
        plain, coded = _native(values)
        columns[name], loose = _column(name, plain)
        if (coded or loose) and columns[name].dtype.kind != "O":
            categorical.add(name)
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInput(f"columns must have one length, not {lengths}")
    rows = next(iter(lengths.values()), 0)
    own = named and all(isinstance(name, str) for name, _ in pairs)
    return Frame(columns, own, frozenset(categorical), rows)


def unmasked(given: np.ma.MaskedArray[Any, Any]) -> Array:
    """An array of objects, None where ``given`` is masked."""
    plain = np.array(given.data, object)
    plain[np.ma.getmaskarray(given)] = None
    return plain


def _one_column(given: Any) -> bool:
    """Of pandas (which has a name), polars (likewise) or Arrow."""
    return hasattr(given, "name") or hasattr(given, "chunks")


def _columns(given: Any) -> Iterator[tuple[Any, Any]]:
    """Names and columns of what has names."""
    if isinstance(given, np.ndarray):
        return ((name, given[name]) for name in given.dtype.names or ())
    if isinstance(given, Mapping):
        return iter(given.items())
    if hasattr(given, "iloc"):
        return ((name, given.iloc[:, i]) for i, name in enumerate(given.columns))
    if hasattr(given, "get_columns"):
        return ((series.name, series) for series in given.get_columns())
    if hasattr(given, "column_names") and hasattr(given, "column"):
        return ((name, given.column(i)) for i, name in enumerate(given.column_names))
    return _columns(_streamed(given))


def _streamed(given: Any) -> Any:
    try:
        import pyarrow as pa  # noqa: PLC0415 - only what speaks Arrow needs it
    except ModuleNotFoundError as e:
        raise InvalidType(
            f"reading a {type(given).__name__} needs pyarrow: install it, or give a dict of columns"
        ) from e
    return pa.table(given)


def _positional(given: Any) -> Iterator[tuple[str, Array]]:
    if isinstance(given, np.ma.MaskedArray):
        given = unmasked(given)
    try:
        array = np.asarray(given)
        if array.dtype.kind in "US" and not hasattr(given, "dtype"):
            array = np.asarray(given, object)  # or numbers beside text would become text
    except (TypeError, ValueError) as e:
        raise InvalidInput(f"rows must be of one length: {e}") from e
    if array.ndim != 2:
        raise InvalidType(
            f"a table is needed, not a {type(given).__name__} of shape {array.shape}: give a "
            "frame, a dict of columns or an array [rows, columns]"
        )
    return ((f"x{j}", array[:, j]) for j in range(array.shape[1]))


def _names(given: Sequence[Any]) -> list[str]:
    kinds = {isinstance(name, str) for name in given}
    if kinds == {False}:
        return [f"x{j}" for j in range(len(given))]
    if False in kinds:
        other = next(name for name in given if not isinstance(name, str))
        raise InvalidType(
            f"some column names are text and some are not, such as {other!r}: Feature names are "
            "only supported if all input features have string names"
        )
    repeated = sorted({name for name in given if given.count(name) > 1})
    if repeated:
        raise InvalidInput(f"column names must differ; repeated: {repeated}")
    return list(given)


def _native(values: Any) -> tuple[Array, bool]:
    """A column of any library as an array, and whether it held categories."""
    kind: Any = getattr(values, "type", None)
    if hasattr(kind, "index_type"):  # Arrow's dictionaries, whose own arrays lose what is missing
        return values.cast(kind.value_type).to_numpy(zero_copy_only=False), True
    if kind is not None and hasattr(values, "to_numpy"):
        return values.to_numpy(zero_copy_only=False), False
    dtype = getattr(values, "dtype", None)
    if hasattr(dtype, "categories"):  # of pandas, and Enum of polars
        return np.asarray(values.to_numpy()), True
    if hasattr(values, "to_numpy"):
        return np.asarray(values.to_numpy()), False
    if hasattr(values, "__array__"):
        return np.asarray(values), False
    return np.asarray(values, object), False


def _column(name: str, values: Array) -> tuple[Array, bool]:
    """The column as ``Frame`` has it, and whether it was of bools of which some are missing."""
    if values.dtype.kind == "c":
        raise InvalidInput(
            f"Complex data not supported: column {name!r} has dtype {values.dtype}; give real and "
            "imaginary part as two columns"
        )
    if values.dtype.kind in "mM":
        raise InvalidInput(f"column {name!r} holds {values.dtype}: {_DATES_CURE}")
    loose = False
    if values.dtype.kind == "O":
        values, loose = _objects(name, values)
    made = column(name, values)
    if made.dtype.kind == "f" and made.size and np.isnan(made).all():
        return np.full(made.shape, None, object), False  # of no kind, so that it fits any
    if made.dtype.kind == "f" and np.isinf(made).any():
        row = int(np.flatnonzero(np.isinf(made))[0])
        raise InvalidInput(
            f"Input X contains infinity: column {name!r}, row {row}; give a finite number, or NaN "
            "where the value is missing"
        )
    return made, loose


def _objects(name: str, values: Array) -> tuple[Array, bool]:
    """The column with decimals as floats, and whether it holds bools of which some are missing.

    Raises:
        InvalidInput, InvalidType: for cells that ``foretoken.arrays.column`` knows nothing of.
    """
    kinds = set(map(type, values.tolist()))
    for kind in kinds:
        if kind.__name__ in _MISSING or issubclass(kind, str | bool | np.bool_ | type(None)):
            continue
        if issubclass(kind, _DATES) or hasattr(kind, "to_timestamp"):
            row = _first(values, kind)
            raise InvalidInput(
                f"column {name!r} holds a {kind.__name__} at row {row}: {_DATES_CURE}"
            )
        if issubclass(kind, complex | np.complexfloating):
            raise InvalidInput(f"Complex data not supported: column {name!r}")
        if not issubclass(kind, int | float | Decimal | np.number):
            raise InvalidType(
                "argument must be a string or a number, or None where missing, not a "
                f"{kind.__name__}: column {name!r}, row {_first(values, kind)}"
            )
    if Decimal in kinds:
        values = np.array([float(v) if type(v) is Decimal else v for v in values], object)
    bools = {kind for kind in kinds if issubclass(kind, bool | np.bool_)}
    rest = [kind for kind in kinds - bools if kind.__name__ not in {*_MISSING, "NoneType"}]
    return values, bool(bools) and not rest and len(kinds) > len(bools)


def _first(values: Array, kind: type) -> int:
    return next(i for i, value in enumerate(values.tolist()) if type(value) is kind)
