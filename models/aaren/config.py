"""Sizes of Aaren's two models.

Letters: D observed values, L values of a window, K levels, H horizon, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from foretoken.errors import InvalidInput

__all__ = ["LEVELS", "AarenConfig"]

LEVELS = (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)


@dataclass(frozen=True)
class AarenConfig:
    """The shape of a model.

    Args:
        head: "forecaster" or "classifier".
        inputs: D, values of an observation; 1 for a forecaster.
        width: of the token stream, a multiple of heads.
        layers: blocks.
        heads: of each block.
        mlp: hidden width of each block's MLP.
        window: L, newest observations that a token is made of.
        horizon: H, steps that are forecast; 0 for a classifier.
        levels: of quantiles, K >= 3, an odd number, increasing, the middle one 0.5; none for a
            classifier.
        classes: their names, C >= 2; none for a forecaster.
        decay: of the heads' memories; see ``models.layers.mixers.aaren``; None: 0 for all.
        folded: whether the query token is multiplied out; not so in the paper.
        mean: D numbers that are taken from a classifier's observations, and
        std: D numbers above 0 by which the rest is divided.

    Raises:
        InvalidInput: they do not fit together.
    """

    head: str = "forecaster"
    inputs: int = 1
    width: int = 128
    layers: int = 4
    heads: int = 8
    mlp: int = 256
    window: int = 192
    horizon: int = 64
    levels: tuple[float, ...] = LEVELS
    classes: tuple[str, ...] = ()
    decay: tuple[float, ...] | None = None
    folded: bool = True
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("levels", "classes", "decay", "mean", "std"):  # JSON has lists
            value = getattr(self, name)
            object.__setattr__(self, name, value if value is None else tuple(value))
        sizes = (self.inputs, self.width, self.layers, self.heads, self.mlp, self.window)
        if min(sizes) < 1 or self.width % self.heads:
            raise InvalidInput(f"{self}: sizes are at least 1, width is a multiple of heads")
        match self.head:
            case "forecaster":
                self._expect_forecaster()
            case "classifier":
                self._expect_classifier()
            case _:
                raise InvalidInput(f"head {self.head!r}: there are forecaster and classifier")

    def _expect_forecaster(self) -> None:
        if self.inputs != 1 or self.horizon < 1 or self.classes or self.mean or self.std:
            raise InvalidInput(
                f"{self}: a forecaster has one input, a horizon of at least 1, and no classes, "
                "mean or std"
            )
        p, K = self.levels, len(self.levels)
        rising = all(a < b for a, b in zip((0.0, *p), (*p, 1.0), strict=True))
        if K < 3 or K % 2 == 0 or not rising or p[K // 2] != 0.5:
            raise InvalidInput(
                f"levels {list(p)}: an odd number of at least 3 is needed, increasing, "
                "between 0 and 1, the middle one 0.5"
            )

    def _expect_classifier(self) -> None:
        if self.horizon or self.levels or len(set(self.classes)) != len(self.classes):
            raise InvalidInput(f"{self}: a classifier has no horizon, no levels, no class twice")
        if len(self.classes) < 2:
            raise InvalidInput(f"classes {list(self.classes)}: at least 2 are needed")
        if len(self.mean) != self.inputs or len(self.std) != self.inputs:
            raise InvalidInput(f"{self}: mean and std are one number for each input")
        if not all(map(math.isfinite, self.mean)) or not all(0 < s < math.inf for s in self.std):
            raise InvalidInput(f"{self}: means are finite, and standard deviations above 0 too")
