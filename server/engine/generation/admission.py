"""Who has blocks: admission in order of arrival, growth, and preemption of the youngest.

A request is admitted once there are blocks for the tokens it has and for the next one; those of its
answer are taken as it grows. When none is left, the request that arrived last gives its blocks back
and waits in front; it is recomputed from its tokens. The oldest is never made to wait by others and
fits the pool alone, so each one ends.
"""

from __future__ import annotations

import time
from collections import deque

from foretoken.errors import Unsupported
from foretoken.server.engine.generation.blocks import Blocks
from foretoken.server.engine.generation.decoding import Decoding

__all__ = ["Admission"]


class Admission:
    """Requests that wait and those that are active; it belongs to one generator.

    Args:
        blocks: that they share.
        size: tokens of a block.
        most: active requests at a time.
    """

    def __init__(self, blocks: Blocks, size: int, most: int) -> None:
        self.active: dict[Decoding, None] = {}  # in order of arrival
        self.waiting: deque[Decoding] = deque()  # likewise
        self.preempted = 0  # how often a request was
        self._blocks, self._size, self._most = blocks, size, most
        self._tried: tuple[Decoding, int] | None = None  # in vain, with so many blocks free

    def add(self, one: Decoding) -> None:
        """Let a request wait for its blocks.

        Raises:
            Unsupported: the whole pool is too small for it.
        """
        longest = len(one.tokens) + one.work.most
        if (needed := self._lacking(one, longest)) > self._blocks.count:
            raise Unsupported(
                f"a chain of {len(one.tables)} layers over {longest} tokens needs {needed} blocks "
                f"of keys and values; this server has {self._blocks.count}: ask for fewer tokens "
                "or layers"
            )
        self.waiting.append(one)

    def admit(self) -> list[Decoding]:
        """Those whose turn has come and for whom there are blocks, which they now have."""
        admitted = []
        while self.waiting and len(self.active) < self._most and self._fits(self.waiting[0]):
            one = self.waiting.popleft()
            self.active[one] = None
            one.idle += time.monotonic() - one.since
            admitted.append(one)
        return admitted

    def grow(self, one: Decoding) -> bool:
        """Blocks for all tokens of an active request; False if it was preempted itself."""
        while (lacking := self._lacking(one, len(one.tokens))) > self._blocks.free:
            youngest = next(reversed(self.active))
            self._preempt(youngest)
            if youngest is one:
                return False
        self._fill(one, len(one.tokens), lacking)
        return True

    def leave(self, one: Decoding) -> None:
        """Take a request out, whether it waits, is active or neither; its blocks are free."""
        if one in self.active:
            del self.active[one]
            self._blocks.release(one.blocks)
            one.clear()
        elif one in self.waiting:
            self.waiting.remove(one)

    def _preempt(self, one: Decoding) -> None:
        self.leave(one)
        self.waiting.appendleft(one)
        one.since = time.monotonic()
        self.preempted += 1

    def _fits(self, one: Decoding) -> bool:
        """Whether a waiting request has its blocks now: others' as far as they are known."""
        if one.work.scored:
            return True
        digests = one.hash()
        if self._tried == (one, self._blocks.free):
            return False
        for position, root in enumerate(one.roots):
            for digest in digests:
                if (block := self._blocks.find((root, digest))) is None:
                    break
                one.tables[position].append(block)
            one.shared[position] = len(one.tables[position])
        lacking = self._lacking(one, len(one.tokens) + 1)
        if lacking > self._blocks.free:
            self._blocks.release(one.blocks)
            one.clear()
            self._tried = (one, self._blocks.free)
            return False
        # The last token is computed in any case: its logits are asked for.
        there = min(one.shared) * self._size
        one.end = min(there, len(one.tokens) - 1)
        if one.reused is None:
            one.reused = one.end
        self._fill(one, len(one.tokens), self._lacking(one, len(one.tokens)))
        return True

    def _rows(self, tokens: int) -> int:
        return -(-tokens // self._size)

    def _lacking(self, one: Decoding, tokens: int) -> int:
        if one.work.scored:
            return 0
        rows = self._rows(tokens)
        return sum(max(0, rows - len(table)) for table in one.tables)

    def _fill(self, one: Decoding, tokens: int, lacking: int) -> None:
        taken, rows = iter(self._blocks.take(lacking)), self._rows(tokens)
        for table in one.tables:
            table.extend(next(taken) for _ in range(rows - len(table)))
