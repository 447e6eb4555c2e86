"""How many parts a message has, counted before it is parsed.

An empty message within another takes two bytes on the wire and fifty times as many once parsed: of
64 MiB, gigabytes and seconds. So large messages are looked through first. That ends at the bound,
and costs the usual ones next to nothing: few parts are what makes them large.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor

from foretoken.errors import InvalidInput

__all__ = ["ADVICE", "LARGE", "MOST", "expect_few"]

LARGE = 1 << 20  # bytes; smaller messages cannot do harm
MOST = 1 << 17  # parts of a larger one
ADVICE = "send long arrays packed or raw, or less at once"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


def expect_few(data: bytes, kind: Descriptor, advice: str = ADVICE) -> None:
    """Do nothing if a message has few enough fields, those of messages within it included.

    Args:
        data: the message; where it is malformed, it is left to whoever parses it to say so.
        kind: of the message.
        advice: what whoever sends more is told to do.

    Raises:
        InvalidInput: if it has more than ``MOST``.
    """
    left = MOST
    within = [(0, len(data), kind)]
    try:
        while within:
            at, end, kind = within.pop()
            fields = kind.fields_by_number
            while at < end:
                left -= 1
                if not left:
                    raise InvalidInput(f"the message has more than {MOST} parts; {advice}")
                tag, at = _varint(data, at)
                wire = tag & 7
                if wire == _BYTES:
                    size, at = _varint(data, at)
                    field = fields.get(tag >> 3)
                    if field is not None and field.message_type is not None:
                        within.append((at, min(at + size, end), field.message_type))
                    at += size
                elif wire == _VARINT:
                    _, at = _varint(data, at)
                elif wire in (_FIXED64, _FIXED32):
                    at += 8 if wire == _FIXED64 else 4
    except IndexError:  # it ends too early
        return


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where it ends."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    number, shift = byte & 0x7F, 7
    while shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise IndexError("a varint of more than ten bytes")
