"""A run that is followed: what is sent after each observation, and how a broken stream is mended.

The client keeps the run, the server keeps nothing that cannot be told again: when a stream breaks
for no fault of the caller's, a new one takes up the run, on the same version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from foretoken.arrays import floats
from foretoken.client.curves import Metric, posterior_of, tables_of
from foretoken.client.operations import Exchange, Pause, Steps, message
from foretoken.errors import InvalidInput, Overloaded, Unavailable
from foretoken.posterior import Posterior
from foretoken.proto import curves
from foretoken.stopping import Advice

__all__ = ["Outlook", "Watched"]

DELAYS = (0.1, 0.3, 0.9, 2.7)  # seconds before another try; longer than a worker's restart


@dataclass(frozen=True)
class Outlook:
    """What is expected of a run after an observation.

    Args:
        observed: points of the run so far.
        posterior: over the steps that remain; None before the first observation, and when no step
            remains.
        advice: None without a posterior, or without a value to beat.
        model: that answered.
        version: of it; the same for the whole run.
    """

    observed: int
    posterior: Posterior | None
    advice: Advice | None
    model: str
    version: int


class Watched:
    """A run on its way; a transport performs its steps.

    Args:
        model: ``NAME``, ``NAME:VERSION`` or ``ALIAS@NAME``.
        metric: of the run.
        at: steps to predict.
        quantiles: levels of the posteriors.
        best: value to beat, if there is one.
        threshold: stop when the chance of beating it is at most that; None takes the server's.
        seen: steps and values of a run that has already begun.
        key: chooses the side of a canary.
    """

    def __init__(
        self,
        model: str,
        metric: Metric,
        at: ArrayLike,
        quantiles: ArrayLike,
        best: float | None,
        threshold: float | None,
        seen: tuple[ArrayLike, ArrayLike] | None,
        key: str | None,
    ) -> None:
        self._model = model
        self._metric = metric.message()
        self._at = floats("at", at).tolist()
        self._quantiles = floats("quantiles", quantiles).tolist()
        self._best = best
        self._threshold = threshold
        self._seen = [] if seen is None else _observations(*seen)
        self._key = key
        self._broken = True
        self.outlook: Outlook | None = None

    def begin(self) -> Steps[Outlook]:
        """Open the stream."""
        return (yield from self._attempts(None))

    def push(self, step: float, value: float, best: float | None) -> Steps[Outlook]:
        """Add an observation; one that fails is not part of the run."""
        observed = message(curves.Observation, step=step, value=value, best=best)
        outlook = yield from self._attempts(observed)
        self._seen.append(curves.Observation(step=step, value=value))
        self._best = self._best if best is None else best
        return outlook

    def _attempts(self, observed: curves.Observation | None) -> Steps[Outlook]:
        for delay in (*DELAYS, None):
            fresh = self._broken
            request = (
                self._opening(observed)
                if fresh or observed is None
                else curves.WatchRequest(observe=observed)
            )
            self._broken = True  # unless an answer comes
            try:
                reply = yield Exchange(request, fresh)
            except (Unavailable, Overloaded) as e:
                if delay is None:
                    raise
                yield Pause(max(delay, e.retry_after if isinstance(e, Overloaded) else 0.0))
                continue
            self._broken = False
            self._model = f"{reply.model}:{reply.version}"
            self.outlook = _outlook(reply)
            return self.outlook
        raise AssertionError("the last attempt raises")

    def _opening(self, observed: curves.Observation | None) -> curves.WatchRequest:
        best = self._best
        if observed is not None and observed.HasField("best"):
            best = observed.best
        opening = message(
            curves.WatchOpen,
            model=self._model,
            metric=self._metric,
            at=self._at,
            quantiles=self._quantiles,
            best=best,
            threshold=self._threshold,
            key=self._key,
            seen=[*self._seen, *([] if observed is None else [observed])],
            detail=curves.DISTRIBUTION,
        )
        return curves.WatchRequest(open=opening)


def _outlook(reply: curves.WatchResponse) -> Outlook:
    posterior = advice = None
    if reply.HasField("posterior"):
        posterior = posterior_of(reply.posterior, tables_of(reply.borders))
    if reply.HasField("advice"):
        advice = Advice(reply.advice.stop, reply.advice.chance)
    return Outlook(reply.observed, posterior, advice, reply.model, reply.version)


def _observations(steps: ArrayLike, values: ArrayLike) -> list[curves.Observation]:
    when: Sequence[float] = floats("steps", steps).tolist()
    what: Sequence[float] = floats("values", values).tolist()
    if len(when) != len(what):
        raise InvalidInput(f"seen holds {len(when)} steps and {len(what)} values; need as many")
    return [
        message(curves.Observation, step=step, value=value)
        for step, value in zip(when, what, strict=True)
    ]
