"""The bar distribution against the authors' figures, numerical integration and its own laws."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretoken.distributions import BarDistribution
from foretoken.errors import InvalidInput

PARITY = Path(__file__).parents[2] / "shared/data/parity/lcpfn_small_random.npz"
BORDERS = np.array([-1.0, 0.0, 0.1, 0.15, 0.5, 0.6, 1.4])
TAILS = ("half_normal", "uniform")


def some_logits(seed=0, shape=(3,)):
    return np.random.default_rng(seed).normal(size=(*shape, len(BORDERS) - 1)) * 1.5


def integrate(d, logits, f):
    """∫ f(y) p(y) dy bar by bar, and far into the tails."""
    edges = [-30, *d.borders, 30] if d.tails == "half_normal" else d.borders
    total = 0.0
    for low, high in itertools.pairwise(edges):
        nodes, weights = np.polynomial.legendre.leggauss(200)
        y = (high - low) / 2 * nodes + (high + low) / 2
        total += (high - low) / 2 * weights @ (f(y) * np.exp(d.log_prob(logits, y)))
    return total


@pytest.mark.skipif(not PARITY.exists(), reason="../shared/data/parity is not there")
def test_figures_equal_the_authors():
    data = np.load(PARITY)
    logits, y = data["bar/logits"], data["bar/y"]
    half = BarDistribution(data["bar/borders"])
    bounded = BarDistribution(data["bar/borders"], tails="uniform")
    figures = {
        "nll": -half.log_prob(logits, y),
        "mean": half.mean(logits),
        "var_base": bounded.variance(logits),
        "ei_best0.7": bounded.expected_improvement(logits, 0.7),
        "pi_best0.7": bounded.exceeds(logits, 0.7),
        "ucb": bounded.ucb(logits),
        "mode": bounded.mode(logits, by="mass"),
    }
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    quantiles = np.moveaxis(bounded.quantile(logits, levels), -1, 0)
    figures |= {f"icdf_{q}": z for q, z in zip(levels, quantiles, strict=True)}
    for name, figure in figures.items():
        np.testing.assert_allclose(figure, data[f"bar/{name}"], atol=1e-4, err_msg=name)


@pytest.mark.skipif(not PARITY.exists(), reason="../shared/data/parity is not there")
def test_forward_figures_equal_the_authors():
    data = np.load(PARITY)
    borders = data["sd/criterion.borders"]
    logits = data["fwd/c10/logits"]
    np.testing.assert_allclose(
        BarDistribution(borders).mean(logits), data["fwd/c10/mean"], atol=1e-5
    )
    bounded = BarDistribution(borders, tails="uniform").quantile(logits, [0.05, 0.95])
    np.testing.assert_allclose(bounded[..., 0], data["fwd/c10/q05"], atol=1e-5)
    np.testing.assert_allclose(bounded[..., 1], data["fwd/c10/q95"], atol=1e-5)


@pytest.mark.parametrize("tails", TAILS)
def test_every_figure_follows_from_the_density(tails):
    d = BarDistribution(BORDERS, tails)
    for logits in some_logits():
        mean = integrate(d, logits, lambda y: y)
        np.testing.assert_allclose(integrate(d, logits, np.ones_like), 1, rtol=1e-9)
        np.testing.assert_allclose(d.mean(logits), mean, rtol=1e-9)
        variance = integrate(d, logits, lambda y, m=mean: (y - m) ** 2)
        np.testing.assert_allclose(d.variance(logits), variance, rtol=1e-9)
        for t in (-2.0, -0.5, *BORDERS, 0.12, 0.55, 0.9, 2.5):
            # Split the interval at t by integrating towards t from a finer distribution.
            gain = integrate_above(d, logits, t)
            np.testing.assert_allclose(d.expected_improvement(logits, t), gain, atol=1e-9)


def integrate_above(d, logits, t):
    """E[max(Y − t, 0)] = ∫_t P(Y > y) dy, with the kinks of the survival function as edges."""
    edges = [t, *(b for b in d.borders if b > t), 30.0]
    total = 0.0
    for low, high in itertools.pairwise(edges):
        nodes, weights = np.polynomial.legendre.leggauss(100)
        y = (high - low) / 2 * nodes + (high + low) / 2
        total += (high - low) / 2 * weights @ d.exceeds(logits, y)
    return total


@pytest.mark.parametrize("tails", TAILS)
def test_cdf_is_the_integral_of_the_density(tails):
    d = BarDistribution(BORDERS, tails)
    logits = some_logits()[0]
    y = np.linspace(-0.99, 1.39, 4001)
    slope = np.gradient(d.cdf(logits, y), y)
    density = np.exp(d.log_prob(logits, y))
    away = np.abs(y[:, None] - BORDERS).min(1) > 0.002
    np.testing.assert_allclose(slope[away], density[away], atol=1e-3)
    np.testing.assert_allclose(d.cdf(logits, y) + d.exceeds(logits, y), 1)


distributions = st.tuples(
    st.lists(st.floats(0.01, 2), min_size=2, max_size=12),
    st.floats(-5, 5),
    st.integers(0, 2**32 - 1),
    st.sampled_from(TAILS),
)


def build(widths, start, seed, tails):
    borders = np.concatenate([[start], start + np.cumsum(widths)])
    logits = np.random.default_rng(seed).normal(size=len(widths)) * 3
    return BarDistribution(borders, tails), logits


@given(distributions, st.lists(st.floats(-20, 40), min_size=2, max_size=8))
def test_cdf_rises_from_0_to_1(made, points):
    d, logits = build(*made)
    y = np.sort(points)
    p = d.cdf(logits, y)
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) >= -1e-12).all()
    np.testing.assert_allclose(d.cdf(logits, [-1e6, 1e6]), [0, 1], atol=1e-12)


@given(distributions, st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=8))
def test_quantile_inverts_the_cdf(made, levels):
    d, logits = build(*made)
    q = d.quantile(logits, levels)
    np.testing.assert_allclose(d.cdf(logits, q), levels, atol=1e-9)
    np.testing.assert_allclose(d.quantile(logits, levels[0]), q[0])


@given(distributions)
def test_density_integrates_to_1_and_peaks_at_the_mode(made):
    d, logits = build(*made)
    np.testing.assert_allclose(integrate(d, logits, np.ones_like), 1, rtol=1e-5)
    peak = d.log_prob(logits, d.mode(logits) + np.array([-1e-9, 0, 1e-9])).max()
    y = np.linspace(d.borders[0] - 1, d.borders[-1] + 1, 500)
    assert d.log_prob(logits, y).max() <= peak + 1e-6


def test_leading_axes_and_broadcasting():
    d = BarDistribution(BORDERS)
    logits = some_logits(shape=(4, 3))
    y = np.linspace(-1, 1, 12).reshape(4, 3)
    assert d.quantile(logits, [0.1, 0.5]).shape == (4, 3, 2)
    assert d.quantile(logits, 0.5).shape == (4, 3)
    assert d.cdf(logits, 0.3).shape == (4, 3)
    assert d.expected_improvement(logits, y[:, :1]).shape == (4, 3)
    for b in range(4):
        for j in range(3):
            np.testing.assert_allclose(
                d.log_prob(logits, y)[b, j], d.log_prob(logits[b, j], y[b, j])
            )
            np.testing.assert_allclose(
                d.expected_improvement(logits, y)[b, j],
                d.expected_improvement(logits[b, j], y[b, j]),
            )
    assert d.ucb(logits)[0, 0] == d.quantile(logits[0, 0], 0.841)


def test_far_tails_keep_their_digits():
    d = BarDistribution(BORDERS)
    logits = np.zeros(6)
    q = d.quantile(logits, [1e-12, 1 - 1e-12])
    assert q[0] < -5
    assert q[1] > 5
    np.testing.assert_allclose(d.cdf(logits, q[0]), 1e-12, rtol=1e-3)


def test_borders_from_samples_carry_equal_mass():
    y = np.random.default_rng(0).normal(size=(100, 20))
    d = BarDistribution.from_samples(y, 50)
    counts, _ = np.histogram(y, bins=[-9, *d.borders[1:-1], 9])
    assert (counts == 40).all()
    # With equal masses the fitted distribution has the samples' quantiles, tails included.
    np.testing.assert_allclose(d.quantile(np.zeros(50), 0.01), np.quantile(y, 0.01), atol=0.03)


def test_bad_input_is_refused():
    with pytest.raises(InvalidInput, match="strictly increasing"):
        BarDistribution(np.array([0.0, 1.0, 1.0]))
    with pytest.raises(InvalidInput, match="K >= 2"):
        BarDistribution(np.array([0.0, 1.0]))
    with pytest.raises(InvalidInput, match="half_normal"):
        BarDistribution(BORDERS, tails="heavy")
    with pytest.raises(InvalidInput, match="strictly increasing"):
        BarDistribution.from_samples(np.zeros(100), 10)
    with pytest.raises(InvalidInput, match="2 finite ones per bar"):
        BarDistribution.from_samples([1.0, 2.0, 3.0], 2)
    d = BarDistribution(BORDERS)
    with pytest.raises(InvalidInput, match="6"):
        d.mean(np.zeros(5))
    with pytest.raises(InvalidInput, match="finite"):
        d.mean([0, 0, 0, 0, 0, np.nan])
    with pytest.raises(InvalidInput, match="NaN"):
        d.cdf(np.zeros(6), np.nan)
    for level in (0.0, 1.0, -0.1, np.nan):
        with pytest.raises(InvalidInput, match="quantile levels"):
            d.quantile(np.zeros(6), level)


def test_the_object_cannot_be_changed_from_outside():
    borders = BORDERS.copy()
    d = BarDistribution(borders)
    borders[0] = -99
    assert d.borders[0] == -1
    with pytest.raises(ValueError, match="read-only"):
        d.borders[0] = 3
