"""What callers may say beside a message: an id for the call, a canary key, a priority."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Mapping

from foretoken.errors import InvalidInput

__all__ = ["KEY", "PRIORITIES", "PRIORITY", "RequestIds", "priority_of"]

KEY, PRIORITY, REQUEST_ID = "foretoken-key", "foretoken-priority", "x-request-id"
_ID = re.compile(r"[!-~]{1,128}")
PRIORITIES = 1000  # largest, either way


class RequestIds:
    """Ids for calls that bring none: short, cheap, and no two alike among all workers."""

    def __init__(self) -> None:
        self._prefix = f"{secrets.token_hex(4)}-"
        self._count = itertools.count(1)

    def of(self, metadata: Mapping[str, str]) -> str:
        """The caller's own ``x-request-id``, or a new one.

        Raises:
            InvalidInput: if the caller's is empty, longer than 128 or has other characters.
        """
        own = metadata.get(REQUEST_ID)
        if own is None:
            return f"{self._prefix}{next(self._count):x}"
        if not _ID.fullmatch(own):
            raise InvalidInput("x-request-id is 1 to 128 printable ASCII characters, no spaces")
        return own


def priority_of(metadata: Mapping[str, str]) -> int:
    """The ``foretoken-priority``; 0 without one.

    Raises:
        InvalidInput: if it is not an integer between -1000 and 1000.
    """
    said = metadata.get(PRIORITY)
    if said is None:
        return 0
    try:
        priority = int(said)
    except ValueError:
        priority = PRIORITIES + 1
    if abs(priority) > PRIORITIES:
        raise InvalidInput(f"foretoken-priority is an integer from -{PRIORITIES} to {PRIORITIES}")
    return priority
