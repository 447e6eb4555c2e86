"""Which blocks of keys and values are free, in use by how many, and known by what they hold.

A block that is known by its content stays when nobody uses it any longer, until its room is needed:
the one that was left first goes first. It is never copied, and never written again.
"""

from __future__ import annotations

from collections.abc import Iterable

from foretoken.errors import InternalError
from foretoken.server.engine.generation.prefix import Key

__all__ = ["SPARE", "Blocks"]

SPARE = 0  # the block of nobody: what is to be written nowhere goes there


class Blocks:
    """Books of blocks, without their contents; they belong to one generator.

    Args:
        count: of blocks, beside the spare one.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._next = SPARE + 1  # the first that has never been taken
        self._given: list[int] = []  # given back, and known by nothing
        self._users: dict[int, int] = {}
        self._known: dict[Key, int] = {}
        self._keys: dict[int, Key] = {}
        self._idle: dict[int, None] = {}  # known, used by nobody, in the order they were left

    @property
    def free(self) -> int:
        """Blocks that may be taken: those never used, given back, or known and used by nobody."""
        return self.count - len(self._users)

    def take(self, count: int) -> list[int]:
        """As many blocks for one user.

        Raises:
            InternalError: there are not so many.
        """
        if count > self.free:
            raise InternalError(f"{count} blocks were taken of {self.free} free ones")
        taken = [self._unknown() for _ in range(count)]
        self._users.update(dict.fromkeys(taken, 1))
        return taken

    def find(self, key: Key) -> int | None:
        """The block of a content, for one more user; None if there is none."""
        block = self._known.get(key)
        if block is not None:
            self._idle.pop(block, None)
            self._users[block] = self._users.get(block, 0) + 1
        return block

    def publish(self, block: int, key: Key) -> None:
        """Let a full block be found by its content, unless another is already."""
        if self._known.setdefault(key, block) == block:
            self._keys[block] = key

    def release(self, blocks: Iterable[int]) -> None:
        """One user leaves blocks; of those, the first is given away first.

        Raises:
            InternalError: nobody uses one of them.
        """
        for block in blocks:
            users = self._users.pop(block, 0) - 1
            if users < 0:
                raise InternalError(f"block {block} was released by nobody")
            if users > 0:
                self._users[block] = users
            elif block in self._keys:
                self._idle[block] = None
            else:
                self._given.append(block)

    def _unknown(self) -> int:
        """A block that nothing is known of, or not any longer."""
        if self._given:
            return self._given.pop()
        if self._next <= self.count:
            self._next += 1
            return self._next - 1
        block = next(iter(self._idle))
        del self._idle[block]
        del self._known[self._keys.pop(block)]
        return block
