"""What callers may say beside a message: an id for the call, a canary key, a priority."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Mapping

from foretoken.errors import InvalidInput

__all__ = ["PRIORITIES", "RequestIds", "priority_of"]

_ID = re.compile(r"[!-~]{1,128}")
PRIORITIES = 1000  # largest, either way


class RequestIds:
    """Ids for calls that bring none: short, cheap, and no two alike among all workers."""

    def __init__(self) -> None:
        self._prefix = f"{secrets.token_hex(4)}-"
        self._count = itertools.count(1)

    def new(self) -> str:
        """An id that nobody else has."""
        return f"{self._prefix}{next(self._count):x}"

    def of(self, metadata: Mapping[str, str]) -> str:
        """The caller's own ``x-request-id``, or a new one.

        Raises:
            InvalidInput: if the caller's is empty, longer than 128 or has other characters.
        """
        own = metadata.get("x-request-id")
        if own is None:
            return self.new()
        if not _ID.fullmatch(own):
            raise InvalidInput("x-request-id is 1 to 128 printable ASCII characters, no spaces")
        return own


def priority_of(metadata: Mapping[str, str]) -> int:
    """The ``foretoken-priority``; 0 without one.

    Raises:
        InvalidInput: if it is not an integer between -1000 and 1000.
    """
    said = metadata.get("foretoken-priority")
    if said is None:
        return 0
    try:
        priority = int(said)
    except ValueError:
        priority = PRIORITIES + 1
    if abs(priority) > PRIORITIES:
        raise InvalidInput(f"foretoken-priority is an integer from -{PRIORITIES} to {PRIORITIES}")
    return priority
