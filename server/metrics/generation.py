"""What is counted of a model that generates: its blocks of keys and values, and its answers."""

from __future__ import annotations

from bisect import bisect_left

from foretoken.server.metrics.cells import Cells
from foretoken.server.metrics.definitions import SECONDS
from foretoken.server.metrics.models import cell_of

__all__ = ["AnswerCounts", "PoolCounts"]


class PoolCounts:
    """The gauges of one pool; those of a model's pools are added up.

    Args:
        cells: where they are kept.
        label: of the model.
        blocks: of the pool, all free.
    """

    def __init__(self, cells: Cells, label: str, blocks: int) -> None:
        self._all = cell_of(cells, "foretoken_kv_blocks", label)
        self._free = cell_of(cells, "foretoken_kv_blocks_free", label)
        self._blocks = self._told = blocks
        self._all[0] += blocks
        self._free[0] += blocks

    def free(self, blocks: int) -> None:
        """So many are free now."""
        self._free[0] += blocks - self._told
        self._told = blocks

    def forget(self) -> None:
        """The pool is no longer there."""
        self.free(0)
        self._all[0] -= self._blocks


class AnswerCounts:
    """The counts of one model's answers.

    Args:
        cells: where they are kept.
        label: of the model.
    """

    def __init__(self, cells: Cells, label: str) -> None:
        self._prompts, self._reused, self._tokens, self.preemptions = (
            cell_of(cells, f"foretoken_{name}_total", label)
            for name in (
                "prompt_tokens", "prompt_tokens_reused", "generated_tokens", "preemptions"
            )
        )  # fmt: skip
        self._begun, self._between = (
            cell_of(cells, f"foretoken_time_{name}_seconds", label)
            for name in ("to_first_token", "between_tokens")
        )

    def first(self, seconds: float, prompt: int, reused: int) -> None:
        """An answer has its first token; see ``Observer.first_token``."""
        self._prompts[0] += prompt
        self._reused[0] += reused
        self._token(self._begun, seconds)

    def next(self, seconds: float) -> None:
        """An answer has another token."""
        self._token(self._between, seconds)

    def _token(self, cell: list[float], seconds: float) -> None:
        self._tokens[0] += 1
        cell[bisect_left(SECONDS, seconds)] += 1
        cell[-1] += seconds
