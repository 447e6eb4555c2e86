"""Our side on curves of the paper's prior, scored as MCMC is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from foretoken.distributions import BarDistribution
from foretoken.estimators import CurveExtrapolator
from foretoken.posterior import Posterior

__all__ = ["Later", "Ours"]

Floats = NDArray[np.float64]


class Later(NamedTuple):
    """What a model says of the M later values of n curves, both [n, M].

    ``log_density`` of each, and ``pit``, the probability it gives to values below.
    """

    log_density: Floats
    pit: Floats


class Ours:
    """A registered model.

    The prior's noise is not bounded, so a model that reads curves in the frame of what has been
    seen is told that the metric is not. One that reads values between 0 and 1 as they are is shown
    observed values clipped to that range, and its bars, which have tails beyond it, score the
    later values as they are: a slight handicap, of ours alone.

    Args:
        reference: of the model, as ``CurveExtrapolator`` takes it.
    """

    def __init__(self, reference: str) -> None:
        unit = CurveExtrapolator(reference)
        (probe,) = unit.extrapolate_many([[0.1, 0.2, 0.3]])
        self._plain = probe.scale.soft_bounds is None
        self._model = (
            unit if self._plain else CurveExtrapolator(reference, bounds=(-np.inf, np.inf))
        )

    def answer(self, curves: Floats, cutoff: int) -> Later:
        """Score the values of ``curves`` [n, 100] after the first ``cutoff``."""
        seen, later = curves[:, :cutoff], curves[:, cutoff:]
        if self._plain:
            seen = np.clip(seen, 0, 1)
        steps = np.arange(1.0, curves.shape[1] + 1)
        n = len(curves)
        posteriors = self._model.extrapolate_many(
            list(seen), [steps[:cutoff]] * n, [steps[cutoff:]] * n
        )
        scored = [self._score(p, y) for p, y in zip(posteriors, later, strict=True)]
        log_density, pit = (np.stack(column) for column in zip(*scored, strict=True))
        return Later(log_density, pit)

    def _score(self, posterior: Posterior, later: Floats) -> tuple[Floats, Floats]:
        if not self._plain:
            return posterior.log_prob(later), 1 - posterior.exceeds(later)
        bars = BarDistribution(posterior.borders)
        return bars.log_prob(posterior.logits, later), bars.cdf(posterior.logits, later)
