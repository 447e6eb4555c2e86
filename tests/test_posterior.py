"""Posteriors in the caller's units: against sampling, and under every direction and bound."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken.errors import InvalidInput
from foretoken.normalise import Normaliser
from foretoken.posterior import Posterior

BARS = 40
SCALES = {
    "accuracy": Normaliser(),
    "error": Normaliser(minimize=True),
    "percent": Normaliser(bounds=(0, 100)),
    "loss": Normaliser(minimize=True, bounds=(0, np.inf), soft_bounds=(0.2, 2.0)),
    "reward": Normaliser(bounds=(-np.inf, np.inf), soft_bounds=(-5.0, 10.0)),
}


@pytest.fixture(params=SCALES)
def posterior(request):
    rng = np.random.default_rng(0)
    # Bars well inside the scale: the tails then hold next to nothing outside of the bounds.
    borders = np.sort(rng.uniform(0.2, 0.8, BARS + 1))
    logits = rng.normal(0, 1, (3, BARS)).astype(np.float32)
    levels = np.array([0.05, 0.5, 0.95])
    steps = np.array([10.0, 50.0, 100.0])
    return Posterior(steps, levels, logits, borders, SCALES[request.param])


def _draws(p: Posterior) -> np.ndarray:
    return p.quantile((np.arange(20_000) + 0.5) / 20_000)  # [20000, Q], of equal probability


def test_mean_is_the_mean_of_the_values(posterior):
    draws = _draws(posterior)
    np.testing.assert_allclose(posterior.mean, draws.mean(0), atol=2e-3 * np.ptp(draws))


def test_quantiles_increase_with_their_levels(posterior):
    assert (np.diff(posterior.quantiles, axis=0) > 0).all()


def test_exceeds_and_quantile_are_inverse(posterior):
    medians = posterior.quantile([0.5])[0]
    np.testing.assert_allclose(posterior.exceeds(medians), 0.5, atol=1e-6)


def test_beats_follows_the_direction(posterior):
    t = posterior.quantile([0.9])[0]
    np.testing.assert_allclose(
        posterior.beats(t), 0.9 if posterior.scale.minimize else 0.1, atol=1e-6
    )


def test_density_integrates_to_one_in_the_callers_units(posterior):
    low, high = posterior.quantile([1e-5, 1 - 1e-5])
    grid = np.linspace(low.min(), high.max(), 40_001)
    for q in range(3):
        one = Posterior(
            posterior.steps[q : q + 1].repeat(grid.size),
            posterior.levels,
            posterior.logits[q : q + 1].repeat(grid.size, 0),
            posterior.borders,
            posterior.scale,
        )
        assert np.trapezoid(np.exp(one.log_prob(grid)), grid) == pytest.approx(1, abs=5e-3)


def test_expected_improvement_is_that_of_the_draws(posterior):
    draws = _draws(posterior)
    best = float(np.median(draws))
    gain = best - draws if posterior.scale.minimize else draws - best
    expected = np.maximum(gain, 0).mean(0)
    np.testing.assert_allclose(
        posterior.expected_improvement(best), expected, atol=2e-3 * np.ptp(draws)
    )


def test_values_beyond_the_bounds_are_never_exceeded():
    p = Posterior(np.ones(1), np.array([0.5]), np.zeros((1, 4)), np.linspace(0, 1, 5), Normaliser())
    assert p.exceeds(1.0) == 0
    assert p.exceeds(2.0) == 0
    assert p.exceeds(-0.5) == 1


def test_density_outside_the_bounds_is_refused():
    p = Posterior(np.ones(1), np.array([0.5]), np.zeros((1, 4)), np.linspace(0, 1, 5), Normaliser())
    with pytest.raises(InvalidInput, match="outside the bounds"):
        p.log_prob(1.5)
