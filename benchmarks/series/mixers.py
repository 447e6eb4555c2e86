"""The mixers that benchmarks hold side by side, each of the same width."""

from __future__ import annotations

from foretoken.models.layers.mixers import Mixer, MixerFactory
from foretoken.models.layers.mixers.aaren import Aaren, geometric
from foretoken.models.layers.mixers.attention import Attention
from foretoken.models.layers.mixers.gru import GRU

__all__ = ["COLOURS", "MIXERS", "factory"]

COLOURS = {
    "aaren": "#c2410c",
    "transformer": "#0ea5e9",
    "gru": "#64748b",
    "aaren without decay": "#a855f7",
}
MIXERS = tuple(COLOURS)


def factory(name: str, width: int, heads: int) -> MixerFactory:
    """Makes the mixers of all layers; ``heads`` means nothing to a GRU."""

    def mixer(layer: int) -> Mixer:
        del layer  # all are alike
        match name:
            case "aaren":
                return Aaren(width, heads, geometric(heads))
            case "aaren without decay":
                return Aaren(width, heads)
            case "transformer":
                return Attention(width, heads)
            case "gru":
                return GRU(width)
        raise ValueError(f"no mixer {name!r}; there are {', '.join(MIXERS)}")

    return mixer
