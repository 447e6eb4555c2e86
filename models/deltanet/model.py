"""A small language model over token mixers of any kind, and DeltaNet, over the delta rule.

Letters: B sequences, T tokens (padded), V tokens of the vocabulary, W width, L layers, H heads,
D = W / H, F taps of a convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from foretoken.errors import InvalidInput
from foretoken.models.layers.mixers import MixerFactory
from foretoken.models.layers.mixers.delta import DeltaNet
from foretoken.models.layers.stack import Stack

__all__ = ["DeltaNetConfig", "DeltaNetModel", "LanguageModel"]


@dataclass(frozen=True)
class DeltaNetConfig:
    """The shape of a model.

    Args:
        vocab: V, how many tokens there are.
        width: W of the token stream, a multiple of heads.
        layers: L.
        heads: H.
        mlp: hidden width of each block's MLP.
        conv: F, taps of the short convolutions, at least 2.
        gated: whether memories fade, by a factor that each token sets.

    Raises:
        InvalidInput: a size is too small, or width is not a multiple of heads.
    """

    vocab: int = 256
    width: int = 64
    layers: int = 2
    heads: int = 1
    mlp: int = 128
    conv: int = 4
    gated: bool = False

    def __post_init__(self) -> None:
        sizes = (self.vocab, self.width, self.layers, self.heads, self.mlp, self.conv - 1)
        if min(sizes) < 1 or self.width % self.heads:
            raise InvalidInput(
                f"{self} is not a model: sizes must be positive, conv at least 2, "
                "and width a multiple of heads"
            )


class LanguageModel(nn.Module):
    """Says what comes after each token, from that token and those before it.

    Args:
        vocab: V.
        width: W.
        layers: L.
        mlp: hidden width of the blocks' MLPs.
        mixer: makes the mixer of each layer.
    """

    def __init__(self, vocab: int, width: int, layers: int, mlp: int, mixer: MixerFactory) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.stack = Stack(width, layers, mlp, mixer)
        self.head = nn.Linear(width, vocab, bias=False)

    def forward(self, tokens: Tensor, where: Tensor | None = None) -> Tensor:
        """Logits after tokens, from the start of each sequence.

        Args:
            tokens: int64 [B, T].
            where: bool [B, T], the N places at which to answer; None: all.

        Returns:
            [B, T, V], or [N, V] in the order of rows.
        """
        h = self.stack(self.embed(tokens))
        logits: Tensor = self.head(h if where is None else h[where])
        return logits


class DeltaNetModel(LanguageModel):
    """Yang et al. 2024; the state is its mixers': S [B, L·H, D, D], conv [B, L·3·W, F - 1].

    Memories replace what is stored under a key instead of adding to it, so they recall as many
    pairs as they have dimensions, however many were written before.
    """

    def __init__(self, config: DeltaNetConfig) -> None:
        c = self.config = config

        def mixer(layer: int) -> DeltaNet:
            del layer  # all are alike
            return DeltaNet(c.width, c.heads, c.conv, gated=c.gated)

        super().__init__(c.vocab, c.width, c.layers, c.mlp, mixer)

    def step(self, x: Tensor, S: Tensor, conv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One token each: int64 [B, 1] -> logits [B, V], and the state after it."""
        h, state = self.stack.step(self.embed(x[:, 0]), {"S": S, "conv": conv})
        return self.head(h), state["S"], state["conv"]

    def step_(self, x: Tensor, S: Tensor, conv: Tensor, slots: Tensor) -> Tensor:
        """``step`` of rows ``slots`` [B] int64 of pools [N, ...], which are changed in place."""
        h = self.stack.step_(self.embed(x[:, 0]), {"S": S, "conv": conv}, slots)
        logits: Tensor = self.head(h)
        return logits

    def scan(
        self, x: Tensor, length: Tensor, S: Tensor, conv: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """T tokens each: int64 [B, T, 1] -> logits [B, T, V], and the state after ``length`` [B].

        What lies at and after the length is padding: its logits say nothing.
        """
        h, state = self.stack.scan(self.embed(x[..., 0]), length, {"S": S, "conv": conv})
        return self.head(h), state["S"], state["conv"]
