"""LC-PFN's request logic: a curve in the caller's units to the model's grid, and back.

Letters: N observed points, Q requested steps.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from foretoken.models.contract import Array, Call, Steps
from foretoken.models.tasks import CurveRequest
from foretoken.normalise import Normaliser
from foretoken.posterior import Posterior

GRID = 100.0  # the model's last step; it was trained on steps 1 to 100
MOST_POINTS = 100

Floats = NDArray[np.float64]


class CurvePredictor:
    """Answers ``CurveRequest``s with ``Posterior``s.

    Args:
        borders: of the bars on the model's scale, float [bars + 1].
        frame: "observed" zooms to what has been seen, "bounds" to soft or hard bounds; as trained.
    """

    def __init__(self, borders: Array, frame: str) -> None:
        self._borders = borders.astype(np.float64)
        self._frame = frame

    def predict(self, request: CurveRequest, state: None = None) -> Steps:
        """One call of ``forward``; the reply has a row for each of ``request.at``."""
        del state
        scale = normaliser(request, self._frame)
        kept = thinned(len(request.steps))
        steps, at = on_grid(request.steps[kept], request.at)
        values = scale.forward(request.values[kept])
        (outputs,) = yield [
            Call(
                "forward",
                {
                    "steps": steps[None].astype(np.float32),
                    "values": values[None].astype(np.float32),
                    "n": np.array([len(steps)], np.int64),
                    "at": at[None].astype(np.float32),
                },
            )
        ]
        logits = outputs["logits"][0]
        return Posterior(request.at, request.quantiles, logits, self._borders, scale)


def thinned(n: int) -> NDArray[np.intp]:
    """Indices of at most ``MOST_POINTS`` of ``n`` observations, evenly spread, ends included."""
    if n <= MOST_POINTS:
        return np.arange(n)
    return np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(np.intp))


def on_grid(steps: Floats, at: Floats) -> tuple[Floats, Floats]:
    """Map the caller's steps to the model's 1 to 100.

    Steps that fit are used as they are. Others are stretched linearly, so that the earliest falls
    on 1 and the latest, seen or asked for, on 100.
    """
    first, last = min(steps[0], at[0]), max(steps[-1], at[-1])
    if first >= 1 and last <= GRID:
        return steps, at
    if first == last:
        return np.ones_like(steps), np.ones_like(at)
    scale = (GRID - 1) / (last - first)
    return 1 + scale * (steps - first), 1 + scale * (at - first)


def normaliser(request: CurveRequest, frame: str) -> Normaliser:
    """The map to the model's scale; soft bounds, if not given, come from the values if needed."""
    soft = request.soft_bounds
    needed = frame == "observed" or not all(map(math.isfinite, request.bounds))
    if soft is None and needed:
        soft = soft_bounds(request.values, request.bounds, minimize=request.minimize)
    return Normaliser(request.minimize, request.bounds, soft)


def soft_bounds(
    values: Floats, bounds: tuple[float, float], *, minimize: bool
) -> tuple[float, float]:
    """The best value seen, give or take a reach, within ``bounds``.

    The reach is the distance to the median value, which leaves as much room for improvement as the
    better half of the curve has spanned and is not moved by a first evaluation that lies far off;
    but it is at least 1/(2N) of the room to finite bounds: few points say little about scale.
    """
    best = float(values.min() if minimize else values.max())
    ordered, middle = np.sort(values), len(values) // 2
    median = (ordered[middle] + ordered[-middle - 1]) / 2
    spread = abs(float(median) - best)
    room = max((abs(best - bound) for bound in bounds if math.isfinite(bound)), default=0.0)
    reach = max(spread, (room or abs(best) or 1.0) / (2 * len(values)))
    return max(best - reach, bounds[0]), min(best + reach, bounds[1])
