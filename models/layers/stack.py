"""Pre-norm blocks around token mixers of any kind, stacked, with all their state in one place.

Letters: B sequences, T tokens (padded), W width, L layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from foretoken.models.layers.mixers import InPlace, Mixer, MixerFactory, State

__all__ = ["Block", "Stack"]


class Block(nn.Module):
    """Mixer and MLP, each normalised before and added after, as in a Transformer.

    Args:
        width: W.
        mlp: hidden width of the GELU MLP.
        mixer: of the block.
    """

    def __init__(self, width: int, mlp: int, mixer: Mixer) -> None:
        super().__init__()
        self.mixer = mixer
        self.norm_mixer, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp_in, self.mlp_out = nn.Linear(width, mlp), nn.Linear(mlp, width)

    def step(self, h: Tensor, state: State) -> tuple[Tensor, State]:
        """h [B, W] -> [B, W]."""
        mixed, state = self.mixer.step(self.norm_mixer(h), state)
        return self._finish(h + mixed), state

    def step_(self, h: Tensor, pools: State, slots: Tensor) -> Tensor:
        """``step`` of rows of pools, if the mixer is ``InPlace``."""
        mixer = cast("InPlace", self.mixer)
        return self._finish(h + mixer.step_(self.norm_mixer(h), pools, slots))

    def scan(self, h: Tensor, length: Tensor, state: State) -> tuple[Tensor, State]:
        """h [B, T, W] -> [B, T, W]."""
        mixed, state = self.mixer.scan(self.norm_mixer(h), length, state)
        return self._finish(h + mixed), state

    def forward(self, h: Tensor) -> Tensor:
        """h [B, T, W] -> [B, T, W], from the start of each sequence."""
        return self._finish(h + self.mixer(self.norm_mixer(h)))

    def _finish(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.mlp_out(gelu(self.mlp_in(self.norm_mlp(h))))
        return out


class Stack(nn.Module):
    """L blocks and a final norm.

    A state's tensors are those of a mixer by name, of all layers one after another along axis 1:
    of a mixer's [B, N, ...] they are [B, L·N, ...]. So in an exported graph one node takes them
    apart, and one puts them together.

    Args:
        width: W.
        layers: L.
        mlp: hidden width of the blocks' MLPs.
        mixer: makes the mixer of each layer.
    """

    def __init__(self, width: int, layers: int, mlp: int, mixer: MixerFactory) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, mlp, mixer(i)) for i in range(layers))
        self.norm = nn.LayerNorm(width)
        for block in self._blocks():  # branches start small: the stack starts near the identity
            nn.init.normal_(block.mlp_out.weight, std=0.02 / layers**0.5)
            nn.init.zeros_(block.mlp_out.bias)

    def start(self, B: int) -> State:
        """The state before the first token."""
        return _joined([block.mixer.start(B) for block in self._blocks()])

    def step(self, h: Tensor, state: State) -> tuple[Tensor, State]:
        """h [B, W] -> [B, W], and the state after it."""
        after = []
        for block, own in zip(self._blocks(), self._apart(state), strict=True):
            h, own_after = block.step(h, own)
            after.append(own_after)
        return self.norm(h), _joined(after)

    def step_(self, h: Tensor, pools: State, slots: Tensor) -> Tensor:
        """``step`` of rows ``slots`` [B] int64 of pools [N, ...], which are changed in place.

        The mixers must be ``InPlace``.
        """
        for block, own in zip(self._blocks(), self._apart(pools), strict=True):
            h = block.step_(h, own, slots)
        out: Tensor = self.norm(h)
        return out

    def scan(self, h: Tensor, length: Tensor, state: State) -> tuple[Tensor, State]:
        """h [B, T, W] -> [B, T, W], and the state after the first ``length`` [B] tokens."""
        after = []
        for block, own in zip(self._blocks(), self._apart(state), strict=True):
            h, own_after = block.scan(h, length, own)
            after.append(own_after)
        return self.norm(h), _joined(after)

    def forward(self, h: Tensor) -> Tensor:
        """h [B, T, W] -> [B, T, W], from the start of each sequence."""
        for block in self._blocks():
            h = block(h)
        out: Tensor = self.norm(h)
        return out

    def _blocks(self) -> Iterable[Block]:
        return cast("Iterable[Block]", self.blocks)

    def _apart(self, state: State) -> list[State]:
        """The states of the layers; they share its memory."""
        parts = [tensor.chunk(len(self.blocks), 1) for tensor in state.values()]
        return [dict(zip(state, own, strict=True)) for own in zip(*parts, strict=True)]


def _joined(states: Sequence[State]) -> State:
    return {name: torch.cat([s[name] for s in states], dim=1) for name in states[0]}
