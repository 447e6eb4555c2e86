"""Columns of a table by name <-> one numeric matrix; what a column held when it was learned.

Text, bool and whatever is called categorical become numbers of categories, in sorted order. A
missing value is NaN, and so is a category that was not there when the table was learned.

Letters: N rows, F columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array

__all__ = ["Column", "Schema", "Table", "learned"]

Floats = NDArray[np.float64]
Category = str | float

_CURES = {
    "M": "give a number, such as days since a fixed date",
    "m": "give a number, such as seconds",
    "c": "give real and imaginary part as two columns",
}
_EXACT = 2.0**53  # from here on floats do not tell all whole numbers apart
_CURE = "give numbers, bools, or text with None for what is missing"


@dataclass(frozen=True)
class Table:
    """Numbers to learn from.

    Args:
        matrix: float64 [N, F], NaN where a value is missing, otherwise finite.
        categorical: bool [F], which columns hold numbers of categories.
        names: of the columns.
    """

    matrix: Floats
    categorical: NDArray[np.bool_]
    names: tuple[str, ...]

    def part(self, rows: Array | slice, columns: Array | Sequence[int]) -> Table:
        """The table of some rows and columns."""
        chosen = np.asarray(columns, np.intp)
        matrix = self.matrix[rows][:, chosen]
        return Table(matrix, self.categorical[chosen], tuple(self.names[j] for j in chosen))


@dataclass(frozen=True)
class Column:
    """What a column held: "number", "bool", "text", or "missing" where there was no value.

    Args:
        name: of the column.
        kind: as above.
        categories: sorted; None if the numbers are taken as they are.
    """

    name: str
    kind: str
    categories: tuple[Category, ...] | None = None

    @cached_property
    def codes(self) -> Mapping[Category, int]:
        """Number of each category."""
        return {category: i for i, category in enumerate(self.categories or ())}

    def encode(self, values: Array) -> Floats:
        """The column's numbers, float64 [rows]; unknown categories are NaN.

        Raises:
            InvalidInput: if the values are of another kind than when the column was learned.
        """
        kind, plain = _read(self.name, values)
        if "missing" in (kind, self.kind):
            return np.full(len(values), np.nan)
        if (kind == "text") != (self.kind == "text"):
            raise InvalidInput(
                f"column {self.name!r} held {self.kind} values in the rows to learn from; "
                f"it holds {kind} values now: give the same kind"
            )
        if self.categories is None:
            return plain
        codes = self.codes
        return np.array([codes.get(value, np.nan) for value in plain.tolist()], np.float64)


@dataclass(frozen=True)
class Schema:
    """The columns that were learned, in their order."""

    columns: tuple[Column, ...]

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(column.name for column in self.columns)

    @cached_property
    def categorical(self) -> frozenset[str]:
        """Names of the columns of numbers that were called categorical."""
        told = (c for c in self.columns if c.kind == "number" and c.categories is not None)
        return frozenset(column.name for column in told)

    def matrix(self, columns: Mapping[str, Array]) -> tuple[Floats, tuple[str, ...]]:
        """The numbers of ``columns``, given in any order, and notes.

        Returns:
            float64 [rows, F], NaN where a value is missing or its category unknown; and a note for
            each column that holds unknown categories.

        Raises:
            InvalidInput: columns are missing, unexpected, of another kind, or hold infinities.
        """
        if columns.keys() != self.names:
            self._refuse(columns)
        rows = len(next(iter(columns.values())))
        matrix = np.empty((rows, len(self.columns)), np.float64)
        notes: list[str] = []
        for j, column in enumerate(self.columns):
            values = columns[column.name]
            if column.kind == "number" and column.categories is None and values.dtype.kind in "fi":
                matrix[:, j] = values  # what most columns are
                continue
            matrix[:, j] = column.encode(values)
            if column.categories is not None and (unknown := _unknown(matrix[:, j], values)):
                notes.append(
                    f"column {column.name!r}: {unknown} of {rows} values were not among those "
                    "learned from and count as missing"
                )
        _expect_finite(matrix, [column.name for column in self.columns])
        return matrix, tuple(notes)

    def said(self) -> list[list[object]]:
        """The schema as JSON can say it."""
        return [[c.name, c.kind, c.categories] for c in self.columns]

    @classmethod
    def heard(cls, said: Sequence[tuple[str, str, Sequence[Category] | None]]) -> Schema:
        """The inverse of ``said``."""
        return cls(tuple(Column(n, k, None if c is None else tuple(c)) for n, k, c in said))

    def _refuse(self, columns: Mapping[str, Array]) -> None:
        missing = sorted(self.names - columns.keys())
        unexpected = sorted(columns.keys() - self.names)
        parts = [f"missing {missing}"] * bool(missing)
        parts += [f"unexpected {unexpected}"] * bool(unexpected)
        raise InvalidInput(
            f"columns differ from those learned from: {', '.join(parts)}; "
            "give the same names, in any order"
        )


def learned(columns: Mapping[str, Array], categorical: frozenset[str]) -> tuple[Schema, Table]:
    """What ``columns`` hold, and their numbers.

    Args:
        columns: each [N]: float, int, bool, str, or objects of one of these and None.
        categorical: names of columns of numbers whose values have no order.

    Raises:
        InvalidInput: there are no rows or columns, or one is of an unusable kind or infinite, or
            holds numbers of 2^53 or more as categories.
    """
    if not columns or not len(next(iter(columns.values()))):
        raise InvalidInput("the table to learn from is empty: give at least one column and row")
    found: list[Column] = []
    parts: list[Floats] = []
    for name, values in columns.items():
        kind, plain = _read(name, values)
        if kind == "number" and name not in categorical:
            column, part = Column(name, kind), plain
        else:
            if kind == "number":
                _expect_finite(plain[:, None], [name])
                _expect_apart(name, plain, values)
            column = Column(name, kind, _categories(kind, plain))
            part = column.encode(values)
        found.append(column)
        parts.append(part)
    matrix = np.stack(parts, axis=1)
    _expect_finite(matrix, list(columns))
    coded = np.array([column.categories is not None for column in found])
    return Schema(tuple(found)), Table(matrix, coded, tuple(columns))


def _read(name: str, values: Array) -> tuple[str, Array]:
    """The kind of a column's values, and the values: float64 with NaN, or objects with None."""
    if values.ndim != 1:
        raise InvalidInput(f"column {name!r} has shape {values.shape}; a column is one list")
    match values.dtype.kind:
        case "f" | "i" | "u":
            return "number", values.astype(np.float64)
        case "b":
            return "bool", values.astype(np.float64)
        case "U" | "T":
            return "text", values.astype(object)
        case "O":
            return _read_objects(name, values)
        case other:
            cure = _CURES.get(other, _CURE)
            raise InvalidInput(f"column {name!r} has dtype {values.dtype}: {cure}")


def _read_objects(name: str, values: Array) -> tuple[str, Array]:
    plain = [None if v is None or v != v else v for v in values.tolist()]  # noqa: PLR0124
    kinds = {type(v) for v in plain if v is not None}
    if not kinds:
        return "missing", np.full(len(plain), np.nan)
    if all(issubclass(kind, str) for kind in kinds):
        return "text", np.array(plain, object)
    if kinds <= {bool, np.bool_}:
        return "bool", np.array(plain, np.float64)
    if all(issubclass(kind, (int, float, np.integer, np.floating)) for kind in kinds):
        return "number", np.array(plain, np.float64)
    row = next(i for i, v in enumerate(plain) if v is not None and not isinstance(v, str))
    raise InvalidInput(
        f"column {name!r} holds {type(plain[row]).__name__} at row {row}: {_CURE}, "
        "one kind in a column"
    )


def _categories(kind: str, plain: Array) -> tuple[Category, ...]:
    if kind == "text":
        return tuple(sorted({value for value in plain if value is not None}))
    return tuple(np.unique(plain[np.isfinite(plain)]).tolist())


def _unknown(encoded: Floats, values: Array) -> int:
    """How many values have no number although they are there."""
    without = np.flatnonzero(np.isnan(encoded))
    if not without.size:
        return 0
    return sum(v is not None and v == v for v in values[without].tolist())  # noqa: PLR0124


def _expect_apart(name: str, plain: Array, values: Array) -> None:
    """Refuse categories that would become one as floats."""
    large = np.flatnonzero(np.abs(plain) >= _EXACT)
    if large.size:
        raise InvalidInput(
            f"column {name!r} is categorical and holds {values[large[0]]} at row {large[0]}: "
            "numbers of 2^53 or more are not told apart, give such categories as text"
        )


def _expect_finite(matrix: Floats, names: Sequence[str]) -> None:
    infinite = np.isinf(matrix)
    if infinite.any():
        row, j = np.argwhere(infinite)[0]
        raise InvalidInput(
            f"column {names[j]!r} is infinite at row {row}: give a finite number, or NaN where "
            "the value is missing"
        )
