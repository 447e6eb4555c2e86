"""Learning curves: requests from arrays, posteriors from replies.

Letters: N observed points, Q steps to predict, J bars.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.arrays import floats
from foretoken.client.methods import method
from foretoken.client.operations import Steps, Unary, message
from foretoken.errors import InternalError, InvalidInput
from foretoken.normalise import Normaliser
from foretoken.posterior import Posterior
from foretoken.proto import curves

__all__ = ["Metric", "extrapolate", "extrapolate_many", "posterior_of", "tables_of"]

# A message holds at most so many curves, points and predicted steps: a reply then has about 32 MB.
CURVES, POINTS, AHEAD = 256, 1 << 18, 8192
DEFAULT_AHEAD = 100  # steps that the server predicts by default, or as many as were seen

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """Direction and range of a metric; see ``foretoken.CurveExtrapolator``."""

    minimize: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)
    soft_bounds: tuple[float, float] | None = None

    def message(self) -> curves.Metric:
        """As the wire has it.

        Raises:
            InvalidInput: if a bound is not a pair of numbers.
        """
        soft = None if self.soft_bounds is None else _interval("soft_bounds", self.soft_bounds)
        return message(
            curves.Metric,
            minimize=bool(self.minimize),
            bounds=_interval("bounds", self.bounds),
            soft_bounds=soft,
        )


def extrapolate(
    model: str,
    y: ArrayLike,
    steps: ArrayLike | None,
    at: ArrayLike | None,
    quantiles: ArrayLike,
    metric: Metric,
    key: str | None,
) -> Steps[Posterior]:
    """One curve; see ``extrapolate_many``."""
    found = yield from extrapolate_many(model, [y], [steps], [at], quantiles, metric, key)
    return found[0]


def extrapolate_many(
    model: str,
    ys: Sequence[ArrayLike],
    steps: Sequence[ArrayLike | None] | None,
    at: Sequence[ArrayLike | None] | None,
    quantiles: ArrayLike,
    metric: Metric,
    key: str | None,
) -> Steps[list[Posterior]]:
    """Many curves, in as many messages as it takes, all answered by one version."""
    for name, lists in (("steps", steps), ("at", at)):
        if lists is not None and len(lists) != len(ys):
            raise InvalidInput(f"{len(ys)} curves need as many of {name}, not {len(lists)}")
    none = [None] * len(ys)
    of_metric = metric.message()
    made = (
        message(
            curves.Curve,
            values=_list("y", y),
            steps=None if when is None else _list("steps", when),
            at=None if ahead is None else _list("at", ahead),
            metric=of_metric,
        )
        for y, when, ahead in zip(ys, steps or none, at or none, strict=True)
    )
    levels = _list("quantiles", quantiles)
    found: list[Posterior] = []
    for part in _parts(made):
        request = message(
            curves.ExtrapolateRequest,
            model=model,
            curves=part,
            quantiles=levels,
            detail=curves.DISTRIBUTION,
            key=key,
        )
        reply = yield Unary(method("Curves.Extrapolate"), request)
        if len(reply.posteriors) != len(part):
            raise InternalError(f"{len(reply.posteriors)} posteriors for {len(part)} curves")
        tables = tables_of(reply.borders)
        found += [posterior_of(posterior, tables) for posterior in reply.posteriors]
        model = f"{reply.model}:{reply.version}"
    return found


def tables_of(borders: Iterable[bytes]) -> list[Floats]:
    """The borders that the posteriors of a reply share, each [J + 1]."""
    try:
        return [np.frombuffer(data, "<f8") for data in borders]
    except ValueError as e:
        raise InternalError(f"the reply's borders are malformed: {e}", id="") from e


def posterior_of(said: curves.Posterior, tables: Sequence[Floats]) -> Posterior:
    """A posterior with all it needs to answer any question.

    Raises:
        InternalError: if the reply is malformed.
    """
    steps = np.fromiter(said.steps, np.float64, len(said.steps))
    levels = np.fromiter(said.levels, np.float64, len(said.levels))
    try:
        borders = tables[said.bars.borders]
        logits = np.frombuffer(said.bars.logits, "<f4").reshape(len(steps), len(borders) - 1)
        scale = said.bars.scale
        soft = (scale.soft_bounds.low, scale.soft_bounds.high)
        normaliser = Normaliser(
            scale.minimize,
            (scale.bounds.low, scale.bounds.high),
            soft if scale.HasField("soft_bounds") else None,
        )
    except (ValueError, IndexError) as e:
        raise InternalError(f"the reply is malformed: {e}", id="") from e
    return Posterior(steps, levels, logits, borders, normaliser)


def _parts(made: Iterable[curves.Curve]) -> Iterator[list[curves.Curve]]:
    """The curves in parts that fit a message and its reply; no curves are one part."""
    part: list[curves.Curve] = []
    points = ahead = sent = 0
    for curve in made:
        n, q = len(curve.values), len(curve.at) or max(DEFAULT_AHEAD, len(curve.values))
        if part and (len(part) == CURVES or points + n > POINTS or ahead + q > AHEAD):
            yield part
            sent += 1
            part, points, ahead = [], 0, 0
        part.append(curve)
        points, ahead = points + n, ahead + q
    if part or not sent:
        yield part


def _list(name: str, given: ArrayLike) -> list[float]:
    array = floats(name, given)
    if array.ndim != 1:
        raise InvalidInput(f"{name} must be a list of numbers, not of shape {array.shape}")
    listed: list[float] = array.tolist()
    return listed


def _interval(name: str, given: Any) -> curves.Interval:
    ends = _list(name, given)
    if len(ends) != 2:
        raise InvalidInput(f"{name} must be (low, high), not {given!r}")
    return curves.Interval(low=ends[0], high=ends[1])
