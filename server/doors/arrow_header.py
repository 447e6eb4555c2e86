"""What an Arrow stream announces, read before anything is made of it.

Its messages say how many rows come and where their bytes lie, and a reader allocates by that. So it
is looked through first: the layout is that of Arrow's ``Message.fbs``, as FlatBuffers has it. Each
number below is the place of a field in its table there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from foretoken.errors import InvalidInput

__all__ = ["Announced", "announced"]

CONTINUES = 0xFFFFFFFF
MESSAGES = 1 << 16  # of one stream
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3  # types of messages
_CURE = "write it by pyarrow.ipc.new_stream, with its default options"


@dataclass(frozen=True)
class Announced:
    """What a stream says that it holds.

    Args:
        columns: of the schema, those within others not counted.
        rows: of all batches.
        entries: of all dictionaries.
    """

    columns: int
    rows: int
    entries: int


def announced(data: bytes) -> Announced:
    """The sizes that an Arrow IPC stream announces.

    Raises:
        InvalidInput: if it is no such stream, is cut short, has compressed buffers or such as lie
            beyond its bytes.
    """
    try:
        return _walk(data)
    except (struct.error, IndexError) as e:
        raise InvalidInput(f"the Arrow stream is damaged: {e}; {_CURE}") from e


def _walk(data: bytes) -> Announced:
    columns = rows = entries = at = 0
    for _ in range(MESSAGES):
        if at == len(data) and at:
            return Announced(columns, rows, entries)
        marker, size = struct.unpack_from("<II", data, at)
        if marker != CONTINUES:
            raise InvalidInput(f"this is no Arrow stream; {_CURE}")
        if not size:
            return Announced(columns, rows, entries)
        message = _Table(data, at + 8 + _Table.number(data, at + 8, "<I"))
        kind, body = message.get(1, "<B"), message.get(3, "<q")
        start = at + 8 + size
        if body < 0 or start + body > len(data):
            raise InvalidInput(f"the Arrow stream ends within a message; {_CURE}")
        header = message.table(2)
        if kind == _SCHEMA:
            columns = header.count(1)
        elif kind == _BATCH:
            rows += _length(header, body)
        elif kind == _DICTIONARY:
            entries += _length(header.table(1), body)
        at = start + body
    raise InvalidInput(f"the Arrow stream has more than {MESSAGES} batches; send larger ones")


def _length(batch: _Table, body: int) -> int:
    """Rows of a batch whose buffers all lie within its body."""
    if batch.has(3):
        raise InvalidInput(f"the Arrow stream has compressed buffers; {_CURE}")
    for i in range(batch.count(2)):
        offset, size = batch.pair(2, i)
        if min(offset, size) < 0 or offset + size > body:
            raise InvalidInput(f"the Arrow stream is damaged: a buffer lies beyond it; {_CURE}")
    length = batch.get(0, "<q")
    if length < 0:
        raise InvalidInput(f"the Arrow stream is damaged: a batch has {length} rows; {_CURE}")
    return length


class _Table:
    """A table of FlatBuffers: fields by their place, absent ones are 0."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - self.number(data, at, "<i")
        self._size = self.number(data, self._fields, "<H")

    @staticmethod
    def number(data: bytes, at: int, form: str) -> int:
        """The number at a place, which Python would count from the end if it were negative."""
        if at < 0:
            raise IndexError("an offset points before its beginning")
        found: int = struct.unpack_from(form, data, at)[0]
        return found

    def _place(self, field: int) -> int:
        entry = 4 + 2 * field
        offset = self.number(self._data, self._fields + entry, "<H") if entry < self._size else 0
        return self._at + offset if offset else 0

    def has(self, field: int) -> bool:
        """Whether a field is set."""
        return bool(self._place(field))

    def get(self, field: int, form: str) -> int:
        """A number."""
        place = self._place(field)
        return self.number(self._data, place, form) if place else 0

    def _behind(self, field: int) -> int:
        place = self._place(field)
        if not place:
            raise IndexError(f"field {field} of a message is missing")
        return place + self.number(self._data, place, "<I")

    def table(self, field: int) -> _Table:
        """A table within this one."""
        return _Table(self._data, self._behind(field))

    def count(self, field: int) -> int:
        """Length of a vector."""
        if not self.has(field):
            return 0
        count = self.number(self._data, self._behind(field), "<I")
        if count > len(self._data):
            raise IndexError(f"a vector of {count} entries does not fit")
        return count

    def pair(self, field: int, index: int) -> tuple[int, int]:
        """An entry of a vector of pairs of int64."""
        at = self._behind(field) + 4 + 16 * index
        return self.number(self._data, at, "<q"), self.number(self._data, at + 8, "<q")
