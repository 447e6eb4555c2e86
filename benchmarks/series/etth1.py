"""ETTh1 (Zhou et al. 2021): hourly loads and oil temperature, split as in the literature.

Letters: T hours, C channels, S origins, L hours of context, H hours ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHANNELS", "ENDS", "Part", "load", "naive", "windows"]

MONTH = 30 * 24
ENDS = {"train": 12 * MONTH, "validation": 16 * MONTH, "test": 20 * MONTH}  # rows, exclusive
CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """Hours whose forecasts count, and those before them that forecasts may look at.

    Args:
        values: float32 [T, C], standardised by the training hours' mean and deviation.
        first: index of the first hour that is to be forecast.
    """

    values: Floats
    first: int


def load(path: Path, context: int) -> dict[str, Part]:
    """The parts "train", "validation" and "test"; ``context`` hours precede the latter two."""
    raw = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 8), dtype=np.float64)
    learnt = raw[: ENDS["train"]]
    values = ((raw - learnt.mean(0)) / learnt.std(0)).astype(np.float32)
    parts = {"train": Part(values[: ENDS["train"]], 0)}
    for name, start in (("validation", ENDS["train"]), ("test", ENDS["validation"])):
        parts[name] = Part(values[start - context : ENDS[name]], context)
    return parts


def windows(part: Part, context: int, horizon: int, stride: int = 1) -> tuple[Floats, Floats]:
    """Contexts [S, L, C] and what follows them [S, H, C], at every ``stride``-th origin; views."""
    start, span = part.first - context, context + horizon
    if start < 0:
        raise ValueError(f"{part.first} hours precede the forecasts; {context} are wanted")
    every = np.lib.stride_tricks.sliding_window_view(part.values[start:], span, axis=0)
    chosen = every[::stride].transpose(0, 2, 1)  # [S, L + H, C]
    return chosen[:, :context], chosen[:, context:]


def naive(contexts: Floats, horizon: int, season: int = 24) -> Floats:
    """Contexts [S, L, C] -> [S, H, C]: the last ``season`` hours again and again."""
    ahead = np.arange(horizon) % season - season
    repeated: Floats = contexts[:, ahead]
    return repeated
