"""The bytes of messages that are being worked on, which together are bounded.

Every message is bounded by itself, but many large ones at once would take any machine's memory.
"""

from __future__ import annotations

from foretoken.errors import Overloaded

__all__ = ["Inflight"]

AGAIN = 0.1  # seconds after which another try makes sense


class Inflight:
    """How many bytes of messages a listener holds.

    Args:
        most: bound on them; one message that is larger is taken when it is alone.
    """

    __slots__ = ("_most", "held")

    def __init__(self, most: int) -> None:
        self.held = 0
        self._most = most

    def take(self, size: int) -> None:
        """Count a message of ``size`` bytes, until ``held`` is less by as many.

        Raises:
            Overloaded: if there are too many.
        """
        before = self.held
        held = before + size
        if held > self._most and before:
            raise Overloaded(
                f"a message of {size} bytes does not fit beside {before} in flight in this worker, "
                f"where {self._most} is the bound",
                AGAIN,
            )
        self.held = held
