"""Rate limits that hold for all processes of a server together.

GCRA, the generic cell rate algorithm (ITU-T I.371, annex A): of each limit one number is kept, the
time at which a caller who keeps to the rate would call next. A call is early by how far that lies
ahead, and may be as early as the burst allows. The numbers lie in one mapped file; who changes one
locks its eight bytes, and the kernel unlocks them when a process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foretoken.errors import Unavailable

__all__ = ["Limit", "Limiter"]

_NUMBER = struct.Struct("d")
_PAGE = mmap.PAGESIZE


@dataclass(frozen=True)
class Limit:
    """A limit.

    Args:
        slot: its number, unlike any other's; the file holds 8 bytes for each up to the highest.
        rate: calls per second.
        burst: calls at once after a pause, at least 1.
    """

    slot: int
    rate: float
    burst: int


class Limiter:
    """Limits that are shared with every process that opens the same file.

    Args:
        path: the file; made when missing, and never cut short while anybody maps it.
        clock: seconds, the same for all processes of the machine.

    Raises:
        Unavailable: if the file cannot be made or opened.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn = threading.Lock()  # locks of a file are a process's, not a thread's
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._grow(_PAGE)
        except OSError as e:
            raise Unavailable(f"cannot keep rate limits in {path}: {e.strerror}") from e

    def take(self, limit: Limit) -> float:
        """Make a call: 0 if it may be made, else seconds until one may, and then it was not made.

        Raises:
            Unavailable: if there is no room on the disk for one more limit.
        """
        interval = 1.0 / limit.rate
        tolerance = (limit.burst - 1) * interval
        offset = limit.slot * _NUMBER.size
        with self._turn:
            if offset + _NUMBER.size > len(self._numbers):
                self._make_room(offset + _NUMBER.size)
            fcntl.lockf(self._file, fcntl.LOCK_EX, _NUMBER.size, offset)
            try:
                now = self._clock()
                (due,) = _NUMBER.unpack_from(self._numbers, offset)
                # What no call can have written is of a boot before this one, whose clock it was.
                early = due - now if due - now <= tolerance + interval else 0.0
                if early > tolerance:
                    return float(early - tolerance)
                _NUMBER.pack_into(self._numbers, offset, now + max(early, 0.0) + interval)
                return 0.0
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _NUMBER.size, offset)

    def close(self) -> None:
        """Let go of the file; the limits in it stay."""
        with self._turn:
            self._numbers.close()
            os.close(self._file)

    def _make_room(self, size: int) -> None:
        try:
            self._grow(-(-size // _PAGE) * _PAGE)
        except OSError as e:
            raise Unavailable(f"no room for one more rate limit: {e.strerror}") from e

    def _grow(self, size: int) -> None:
        """Map at least ``size`` bytes; another process may have grown the file further."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, 0)
        try:
            found = os.fstat(self._file).st_size
            if found < size:
                os.posix_fallocate(self._file, found, size - found)
            self._numbers = mmap.mmap(self._file, max(size, found - found % _PAGE))
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)
