"""Mutations of serialised messages: all that a broken or hostile sender may put on the wire."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.fuzz.samples import Sample

EXTREMES = (
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # -1, or the largest unsigned
    b"\xff\xff\xff\xff\x07",  # the largest int32
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",  # the smallest int64
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # the largest int64
    b"\x80" * 11,  # no number at all
    b"\x00",
)
REALS = (
    b"\x00\x00\x00\x00\x00\x00\xf8\x7f",  # NaN
    b"\x00\x00\x00\x00\x00\x00\xf0\x7f",  # infinity
    b"\xff\xff\xff\xff\xff\xff\xef\x7f",  # the largest
    b"\x01\x00\x00\x00\x00\x00\x00\x00",  # the smallest
)


def flip(data: bytearray, rng: random.Random) -> None:
    """Flip up to eight bits."""
    for _ in range(rng.randint(1, 8)):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def truncate(data: bytearray, rng: random.Random) -> None:
    """Cut the end off."""
    if data:
        del data[rng.randrange(len(data)) :]


def lie(data: bytearray, rng: random.Random) -> None:
    """Put an extreme number where a length or a value may stand."""
    if data:
        at = rng.randrange(len(data))
        data[at : at + 1] = rng.choice(EXTREMES)


def number(data: bytearray, rng: random.Random) -> None:
    """Put an extreme real number over what is there."""
    at = rng.randrange(len(data) + 1)
    data[at : at + 8] = rng.choice(REALS)


def swap(data: bytearray, rng: random.Random) -> None:
    """Exchange two parts, as if fields came in another order or under other numbers."""
    if len(data) > 3:
        a, b, c = sorted(rng.sample(range(len(data)), 3))
        data[a:] = data[b:c] + data[a:b] + data[c:]


def repeat(data: bytearray, rng: random.Random) -> None:
    """Send a part many times over."""
    if data:
        at = rng.randrange(len(data))
        part = data[at : at + rng.randint(1, 64)]
        data[at:at] = part * rng.randint(1, 200)


def insert(data: bytearray, rng: random.Random) -> None:
    """Put random bytes in between."""
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.randint(1, 32))


def renumber(data: bytearray, rng: random.Random) -> None:
    """Give the first field another number and wire type."""
    if data:
        data[0] = rng.randrange(1, 128)


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip,
    truncate,
    lie,
    number,
    swap,
    repeat,
    insert,
    renumber,
)


def mutated(sample: Sample, rng: random.Random) -> Sample:
    """The call with one to three mutations of its messages, or with these in another order."""
    messages = [bytearray(m) for m in sample.messages]
    for _ in range(rng.randint(1, 3)):
        rng.choice(MUTATIONS)(rng.choice(messages), rng)
    if len(messages) > 1 and rng.random() < 0.2:
        rng.shuffle(messages)
    sent = tuple(bytes(m) for m in messages)
    return Sample(sample.method, sample.upload, sample.stream, sent)
