"""The streaming classifier: one observation at a time in, probabilities of classes out.

Letters: B sequences, T observations (padded), D values of each, L of them in a window, W width,
C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from foretoken.models.aaren.config import AarenConfig
from foretoken.models.layers.mixers import MixerFactory, State
from foretoken.models.layers.stack import Stack

__all__ = ["Classifier"]


class Classifier(nn.Module):
    """Graphs "step" and "scan", and ``forward`` to train by.

    Observations come standardised. A token is made of the last L of them; those before the first
    are 0, the mean.

    Args:
        config: sizes.
        mixer: of each layer.
        dropout: of tokens and of what the head reads, in training.
    """

    def __init__(self, config: AarenConfig, mixer: MixerFactory, dropout: float = 0.0) -> None:
        super().__init__()
        c = self.config = config
        self.embed_in = nn.Linear(c.window * c.inputs, c.width)
        self.embed_out = nn.Linear(c.width, c.width)
        self.stack = Stack(c.width, c.layers, c.mlp, mixer)
        self.head = nn.Linear(c.width, len(c.classes))
        self.drop = nn.Dropout(dropout)

    def start(self, B: int) -> State:
        """The state before the first observation, by name."""
        c = self.config
        window = self.head.weight.new_zeros(B, c.window, c.inputs)
        return {**self.stack.start(B), "window": window}

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One observation of each sequence.

        Args:
            x: [B, D] float32.
            state: as ``start`` has it: of the stack; window [B, L, D], the newest last.

        Returns:
            probabilities [B, C], and the state in the order that it was given.
        """
        *mixed, window = state
        after = torch.cat([window[:, 1:], x[:, None]], dim=1)
        h, new = self.stack.step(self._token(after.flatten(1)), self._named(mixed))
        return (self.head(h).softmax(-1), *new.values(), after)

    def step_(self, x: Tensor, *pools: Tensor) -> Tensor:
        """``step`` of rows of pools, which are changed in place; [B] int64 slots come last."""
        *mixed, window, slots = pools
        after = torch.cat([window.index_select(0, slots)[:, 1:], x[:, None]], dim=1)
        window.index_copy_(0, slots, after)
        h = self.stack.step_(self._token(after.flatten(1)), self._named(mixed), slots)
        out: Tensor = self.head(h).softmax(-1)
        return out

    def scan(self, x: Tensor, length: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """``step`` over x [B, T, D]: probabilities [B, T, C], the state after ``length``."""
        *mixed, window = state
        h, new = self.stack.scan(self._tokens(x, window), length, self._named(mixed))
        c = self.config
        kept = length[:, None] + torch.arange(c.window, device=x.device)  # [B, L]
        every = torch.cat([window, x], dim=1)
        last = every.gather(1, kept[..., None].expand(-1, -1, c.inputs))
        return (self.head(h).softmax(-1), *new.values(), last)

    def forward(self, x: Tensor, at: Tensor) -> Tensor:
        """Logits [B, P, C] after the observations at [B, P] of x [B, T, D], from its start."""
        tokens = self._tokens(x, self.start(len(x))["window"])
        h = self.stack(self.drop(tokens))
        seen = h.gather(1, at[..., None].expand(-1, -1, h.shape[2]))
        out: Tensor = self.head(self.drop(seen))
        return out

    def _tokens(self, x: Tensor, window: Tensor) -> Tensor:
        """x [B, T, D] after a window -> [B, T, W]."""
        T, L = x.shape[1], self.config.window
        device = x.device
        at = torch.arange(T, device=device)[:, None] + torch.arange(1, L + 1, device=device)
        return self._token(torch.cat([window, x], dim=1)[:, at].flatten(2))

    def _token(self, last: Tensor) -> Tensor:
        """[..., L·D] -> [..., W]."""
        out: Tensor = self.embed_out(gelu(self.embed_in(last)))
        return out

    def _named(self, mixed: Sequence[Tensor]) -> State:
        return dict(zip(self.stack.start(0), mixed, strict=True))
