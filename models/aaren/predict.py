"""Aaren's request logic: observations in the caller's units to graphs, and quantiles back.

Letters: T observations, D values of each, K levels of the model, Q of the caller, H horizon,
C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array, Arrays, Call, Steps
from foretoken.models.tasks import SequenceReply, SequenceRequest

__all__ = ["ClassPredictor", "ForecastPredictor"]

FARTHEST = 1e4  # standard deviations; sums over what lies beyond might leave float32
LARGEST = 1e100  # squares and sums of what is larger may leave float64
Options = Mapping[str, float | str]


class ForecastPredictor:
    """Answers values of a series with quantiles of those to come and how odd the last one was.

    Args:
        start: the state before the first value.
        levels: K, of the model's quantiles.
        horizon: H.
    """

    version = 1

    def __init__(self, start: Arrays, levels: Sequence[float], horizon: int) -> None:
        self._start, self._levels, self._horizon = start, tuple(levels), horizon
        self._defaults: dict[str, float | str] = {
            "horizon": float(horizon),
            "quantiles": _text(self._levels),
        }

    def start(self) -> Arrays:
        """See ``kinds.Recurrent``."""
        return {name: array.copy() for name, array in self._start.items()}

    def options(self, given: Options) -> Options:
        """``horizon``, 1 to H, and ``quantiles``, levels as text ("0.1,0.5,0.9").

        Raises:
            InvalidInput: other options, or levels that the model does not reach.
        """
        if unknown := sorted(set(given) - set(self._defaults)):
            raise InvalidInput(
                f"no such options: {', '.join(unknown)}; there are {', '.join(self._defaults)}"
            )
        asked = {**self._defaults, **given}
        levels = _levels(asked["quantiles"], self._levels)
        return {
            "horizon": float(_horizon(asked["horizon"], self._horizon)),
            "quantiles": _text(levels),
        }

    def predict(self, request: SequenceRequest, state: Any = None) -> Steps:
        """One call; outputs quantiles [T, Q, H] float64 and anomaly [T] float32."""
        x = _expect_numbers(request.values, 1)
        asked = {**self._defaults, **request.options}
        horizon = _horizon(asked["horizon"], self._horizon)
        weights = _weights(asked["quantiles"], self._levels)
        made: Arrays
        (made,) = yield [_call(x, self.start() if state is None else state)]
        z, loc, scale, anomaly = (
            made[name] if len(x) == 1 else made[name][0]
            for name in ("z", "loc", "scale", "anomaly")
        )
        z = z[:, :, :horizon].astype(np.float64)
        z = z if weights is None else weights @ z
        quantiles = loc[:, None, None] + scale[:, None, None] * z
        return SequenceReply({"quantiles": quantiles, "anomaly": anomaly})


class ClassPredictor:
    """Answers observations with probabilities of classes.

    Args:
        start: the state before the first observation.
        mean: [D] of the observations that were learned from.
        std: [D] of them.
    """

    version = 1

    def __init__(self, start: Arrays, mean: Sequence[float], std: Sequence[float]) -> None:
        self._start = start
        self._mean, self._std = np.array(mean), np.array(std)

    def start(self) -> Arrays:
        """See ``kinds.Recurrent``."""
        return {name: array.copy() for name, array in self._start.items()}

    def options(self, given: Options) -> Options:
        """There are none.

        Raises:
            InvalidInput: for any.
        """
        if given:
            raise InvalidInput(f"no such options: {', '.join(sorted(given))}; there are none")
        return {}

    def predict(self, request: SequenceRequest, state: Any = None) -> Steps:
        """One call; output probabilities [T, C] float32, in the order of the model's classes."""
        x = (_expect_numbers(request.values, len(self._mean)) - self._mean) / self._std
        x = x.clip(-FARTHEST, FARTHEST).astype(np.float32)
        call = _call(x, self.start() if state is None else state)
        made: Arrays
        (made,) = yield [call]
        probabilities = made["probabilities"]
        return SequenceReply({"probabilities": probabilities if len(x) == 1 else probabilities[0]})


def _call(x: Array, state: Any) -> Call:
    if len(x) == 1:
        return Call("step", {"x": x}, state)
    return Call("scan", {"x": x[None], "length": np.array([len(x)], np.int64)}, state)


def _expect_numbers(values: Array, D: int) -> NDArray[np.float64]:
    """``values`` [T, D] as float64, if they are numbers that can be worked with."""
    if values.shape[1] != D:
        raise InvalidInput(
            f"values have the shape {list(values.shape)}; this model reads {D} at each step"
        )
    x = values.astype(np.float64)
    if not (np.abs(x) <= LARGEST).all():
        t, d = (int(i[0]) for i in np.nonzero(~(np.abs(x) <= LARGEST)))
        raise InvalidInput(
            f"value {x[t, d]} at step {t}, column {d}: finite numbers within ±{LARGEST:g} are "
            "needed; leave out or fill in what is missing"
        )
    return x


def _horizon(asked: float | str, most: int) -> int:
    try:
        steps = float(asked)
    except ValueError:
        steps = np.nan
    if not (steps == np.floor(steps) and 1 <= steps <= most):
        raise InvalidInput(f"horizon {asked!r}: a whole number from 1 to {most} is needed")
    return int(steps)


def _text(levels: Sequence[float]) -> str:
    return ",".join(f"{p:.12g}" for p in levels)


@lru_cache(maxsize=256)
def _levels(asked: float | str, known: tuple[float, ...]) -> tuple[float, ...]:
    """The levels that are asked for.

    Raises:
        InvalidInput: no list of rising numbers from the first to the last that are known.
    """
    try:
        levels = [float(word) for word in str(asked).split(",")]
    except ValueError:
        levels = []
    low, high = known[0], known[-1]
    if not levels or sorted(set(levels)) != levels or not low <= levels[0] <= levels[-1] <= high:
        raise InvalidInput(
            f"quantiles {asked!r}: rising levels from {low:g} to {high:g} are needed, "
            "such as 0.1,0.5,0.9"
        )
    return tuple(levels)


@lru_cache(maxsize=256)
def _weights(asked: float | str, known: tuple[float, ...]) -> NDArray[np.float64] | None:
    """[Q, K] to interpolate quantiles linearly between levels; None where they are the known."""
    levels = _levels(asked, known)
    if levels == known:
        return None
    return np.stack([np.interp(levels, known, row) for row in np.eye(len(known))], axis=1)
