"""Token mixers, by which the tokens of a sequence see earlier ones; one interface for all.

Letters: B sequences, T tokens (padded), W width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

__all__ = ["InPlace", "Mixer", "MixerFactory", "State"]

State = dict[str, Tensor]


class Mixer(Protocol):
    """A causal map of tokens to tokens of the same width, with all it remembers in a state.

    ``scan`` is T times ``step``: the same outputs and the same state, but for rounding.
    """

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the state's tensors by name, without the batch axis; none is empty."""

    def start(self, B: int) -> State:
        """The state before the first token, [B, *shape] by name."""

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One token of each sequence: x [B, W] -> [B, W], and the state after it."""

    def scan(self, x: Tensor, length: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, T, W] -> [B, T, W], and the state after the first ``length`` [B] tokens of each."""

    def __call__(self, x: Tensor) -> Tensor:
        """x [B, T, W] -> [B, T, W], from the start of each sequence; the form that is trained."""


class InPlace(Mixer, Protocol):
    """A mixer that can step where states lie."""

    def step_(self, x: Tensor, pools: State, slots: Tensor) -> Tensor:
        """``step`` of rows ``slots`` [B] int64 of pools [N, *shape], which are changed in place."""


MixerFactory = Callable[[int], Mixer]
"""Makes the mixer of a layer, given its index, 0 first; it is an ``nn.Module`` too."""
