"""Sizes of the models trained here, what they learn, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from foretoken.models.cola.model import ColaConfig
from foretoken.models.cola.tasks import Addition, Hops, Maker, Modular
from foretoken.models.cola.vocabulary import VOCABULARY
from foretoken.models.layers.decoder import DecoderShape
from foretoken.models.training import Recipe

__all__ = ["ARMS", "PRESETS", "Part", "Preset"]

# How often a step of each arm runs another chain than the whole one.
ARMS = {"plain": 0.0, "loops": 0.5}


@dataclass(frozen=True)
class Part:
    """Problems of a step.

    Args:
        maker: of them, over their whole range of difficulty.
        rows: how many.
    """

    maker: Maker
    rows: int


@dataclass(frozen=True)
class Preset:
    """A size and how to train it.

    Args:
        config: the model's.
        recipe: how and how long.
        parts: of each step.
        edits: most edits of a chain, in the arm that is trained with edited ones.
        stretch: the longest chain, as a multiple of the model's layers.
    """

    config: ColaConfig
    recipe: Recipe
    parts: tuple[Part, ...]
    edits: int = 3
    stretch: float = 1.5


def _config(width: int, layers: int, heads: int, kv_heads: int, mlp: int) -> ColaConfig:
    # Biases let a head look at a place whatever stands there, which hops begin with.
    shape = DecoderShape(
        len(VOCABULARY), width, layers, heads, kv_heads, width // heads, mlp, qkv_bias=True
    )
    return ColaConfig(shape, tied=True, positions=128, tokenizer=len(VOCABULARY.tokenizer_json()))


PRESETS = {
    "tiny": Preset(  # minutes on a CPU core: sums of two numbers
        _config(64, layers=4, heads=4, kv_heads=2, mlp=192),
        Recipe(max_minutes=4, lr=4e-3, weight_decay=0.05, betas=(0.9, 0.98)),
        (Part(Addition((2, 2), (1, 2)), 128),),
    ),
    "small": Preset(  # an hour on two CPU cores
        _config(128, layers=8, heads=4, kv_heads=2, mlp=384),
        Recipe(max_minutes=55, lr=2e-3, weight_decay=0.05, betas=(0.9, 0.98), precision="bf16"),
        (
            Part(Addition((2, 6), (1, 2)), 128),
            Part(Modular((1, 4), (1, 2)), 128),
            Part(Hops((1, 4), (2, 12), questions=4), 64),
        ),
    ),
    "base": Preset(  # minutes on one large GPU
        _config(256, layers=10, heads=8, kv_heads=4, mlp=768),
        Recipe(
            max_minutes=3,
            lr=1.5e-3,
            weight_decay=0.05,
            betas=(0.9, 0.98),
            precision="bf16",
            log_every=100,
            evaluate_minutes=0.75,
        ),
        (
            Part(Addition((2, 8), (1, 3)), 320),
            Part(Modular((1, 6), (2, 3)), 320),
            Part(Hops((1, 6), (2, 16), questions=6), 192),
        ),
    ),
}
