"""Tables on the wire to typed requests, within the server's limits.

Numbers are copied once, out of the message; arrays are read-only views of that.
Letters: N labelled rows.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tasks import TabularRequest
from foretoken.proto import tabular as wire
from foretoken.server.contexts.limits import expect_table
from foretoken.server.settings import Settings

__all__ = ["Columns", "Tables", "option_value", "unblocked"]

Columns = dict[str, Array]
R = TypeVar("R")

_LARGE = 1 << 18  # bytes that are decoded in a thread
_TYPES: dict[str, np.dtype[Any]] = {
    "doubles": np.dtype("<f8"),
    "integers": np.dtype("<i8"),
    "booleans": np.dtype("u1"),
    "strings": np.dtype("<i4"),  # of codes
}


@dataclass(frozen=True)
class Tables:
    """Reads tables.

    Args:
        settings: for the limits.
    """

    settings: Settings

    def columns(self, said: wire.Table, what: str, texts: frozenset[str] = frozenset()) -> Columns:
        """A table's columns by name, all of one length.

        Args:
            said: as received.
            what: it is, for errors.
            texts: columns that are text whatever they look like, in a form that leaves that open.

        Raises:
            InvalidInput: naming the column or limit, and what would be accepted.
        """
        try:
            found = self._read(said, texts)
        except InvalidInput as e:
            raise InvalidInput(f"{what}: {e}") from e
        if not found:
            raise InvalidInput(f"{what} has no columns; give at least one")
        if not len(next(iter(found.values()))):
            raise InvalidInput(f"{what} has no rows; give at least one")
        self._expect_short(what, found.values())
        return found

    def training(self, said: wire.Training) -> TabularRequest:
        """Labelled rows as a request to fit.

        Raises:
            InvalidInput: as ``columns`` does; or if the labels are missing or no classes.
        """
        columns = self.columns(said.table, "the training table")
        match said.WhichOneof("classes"):
            case "target":
                if said.target not in columns:
                    raise InvalidInput(
                        f"the training table has no target column {said.target!r}; its columns "
                        f"are {_listed(columns)}"
                    )
                target = columns.pop(said.target)
                if not columns:
                    raise InvalidInput("the training table has the target alone; give features")
            case "labels":
                kind, raw = _raw(said.labels)
                self._sizes(len(raw), 1)
                target = _decoded(said.labels, kind, raw)
                self._expect_short("the target", [target])
            case _:
                raise InvalidInput("the training set has no labels; give `target` or `labels`")
        _expect_classes(target)
        return TabularRequest(
            train=columns,
            target=target,
            categorical=frozenset(said.categorical),
            options={name: option_value(name, option) for name, option in said.options.items()},
        )

    def _read(self, said: wire.Table, texts: frozenset[str]) -> Columns:
        form = said.WhichOneof("form")
        if form == "columns":
            return self._columns(said.columns)
        if form is None:
            raise InvalidInput("it is empty; give columns, an Arrow stream or CSV")
        from foretoken.server.doors.arrow import from_arrow, from_csv  # noqa: PLC0415

        if form == "arrow":
            return from_arrow(said.arrow, self._sizes)
        return from_csv(said.csv, self._sizes, texts)

    def _columns(self, said: wire.Columns) -> Columns:
        given = said.columns
        self._sizes(0, len(given))
        raw = [_raw(column) for column in given]
        rows = {len(array) for _, array in raw}
        if len(rows) > 1:
            lengths = (f"{c.name!r}: {len(r)}" for c, (_, r) in zip(given, raw, strict=True))
            raise InvalidInput(f"columns have different lengths: {_listed(lengths)}")
        self._sizes(max(rows, default=0), len(given))
        found = {
            column.name: _decoded(column, kind, array)
            for column, (kind, array) in zip(given, raw, strict=True)
        }
        if len(found) < len(given):
            names = [column.name for column in given]
            twice = sorted(name for name, times in Counter(names).items() if times > 1)
            raise InvalidInput(f"columns have the same name: {twice[:5]}; name each differently")
        return found

    def _sizes(self, rows: int, columns: int) -> None:
        expect_table(rows, columns, self.settings)

    def _expect_short(self, what: str, columns: Iterable[Array]) -> None:
        """Refuse text that takes far more memory than the message did, by standing in many rows."""
        texts = [column for column in columns if column.dtype.kind == "O"]
        total = sum(len(value) for column in texts for value in column if value is not None)
        most = self.settings.message_bytes
        if total > most:
            raise InvalidInput(
                f"{what} has {total} characters of text, over all rows and columns; this server "
                f"takes {most} (message_bytes): shorten it, or give numbers in its place"
            )


async def unblocked(size: int, work: Callable[[], R]) -> R:
    """What ``work`` returns; in a thread if it reads many bytes."""
    return await asyncio.to_thread(work) if size > _LARGE else work()


def _raw(column: wire.Column) -> tuple[str, Array]:
    """The kind of a column, and a view of its numbers or of the codes of its strings.

    Every access to bytes of a message copies them, so they are taken out once.
    """
    kind = column.WhichOneof("values")
    if kind is None:
        raise InvalidInput(
            f"column {column.name!r} has no values; give doubles, integers, booleans or strings"
        )
    data = column.strings.codes if kind == "strings" else getattr(column, kind)
    dtype = _TYPES[kind]
    if len(data) % dtype.itemsize:
        raise InvalidInput(
            f"column {column.name!r} has {len(data)} bytes of {kind}, {dtype.itemsize} bytes each"
        )
    return kind, np.frombuffer(data, dtype)


def _decoded(column: wire.Column, kind: str, raw: Array) -> Array:
    """A column's values, of what ``_raw`` gave."""
    if kind == "strings":
        return _strings(column, raw)
    if kind == "booleans":
        if (raw > 1).any():
            row = int(np.argmax(raw > 1))
            raise InvalidInput(
                f"column {column.name!r}: the boolean of row {row} is {raw[row]}; give 0 or 1"
            )
        return raw.view(np.bool_)
    return raw


def _strings(column: wire.Column, codes: Array) -> Array:
    distinct = column.strings.distinct
    if codes.size and not -1 <= codes.min() <= codes.max() < len(distinct):
        row = int(np.flatnonzero((codes < -1) | (codes >= len(distinct)))[0])
        raise InvalidInput(
            f"column {column.name!r}: the code of row {row} is {codes[row]}; there are "
            f"{len(distinct)} distinct strings, from 0, and -1 is missing"
        )
    known = np.empty(len(distinct) + 1, object)  # the last entry, None, is what -1 finds
    known[:-1] = list(distinct)
    found: Array = known[codes]
    return found


def _expect_classes(target: Array) -> None:
    cure = "give a class for each row: integers, booleans or text"
    if target.dtype == object:
        missing = [row for row, value in enumerate(target) if value is None]
        if missing:
            raise InvalidInput(f"the target is missing in row {missing[0]}; {cure}")
    elif target.dtype.kind == "f":
        rows = np.flatnonzero(np.isnan(target))
        where = f"is missing in row {rows[0]}" if rows.size else "holds real numbers"
        raise InvalidInput(f"the target {where}; {cure}")


def option_value(name: str, option: wire.Option) -> float | str:
    """The value of an option of a family.

    Raises:
        InvalidInput: if it has none.
    """
    kind = option.WhichOneof("value")
    if kind is None:
        raise InvalidInput(f"option {name!r} has no value; give a number or a text")
    value: float | str = option.number if kind == "number" else option.text
    return value


def _listed(said: Iterable[str]) -> str:
    text = ", ".join(said)
    return text if len(text) <= 400 else text[:400] + ", ..."
