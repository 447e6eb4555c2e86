"""The MCMC side: its density against plain float64 code, its posterior against exact answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import logsumexp, ndtr

from benchmarks.curves import chain
from benchmarks.curves.cache import cached, key_of
from benchmarks.curves.chain import (
    Run,
    Schedule,
    Target,
    WhitenedTarget,
    run,
    starts,
    walker_by_walker,
)
from benchmarks.curves.paper_prior import clean_curves, draw, log_density, valid


@pytest.fixture(scope="module")
def bank():
    return draw(60_000, np.random.default_rng(1))


def value(p, t):
    A, C1, B, C2, C3, E, log_alpha, log_kappa, log_delta, _ = p
    power = C1 - A * t ** -math.exp(log_alpha)
    logarithm = C2 - B / math.log(t + 1)
    decay = math.exp(-math.exp(log_kappa) * t ** math.exp(log_delta))
    return power + logarithm + C3 - (C3 - E) * decay


def log_posterior(p, observed):
    """Written out for one parameter vector."""
    curve = [value(p, t) for t in range(1, 101)]
    if not (min(curve) >= 0 and max(curve) <= 1 and curve[-1] > curve[0]):
        return -math.inf
    A, C1, B, C2, C3, E, log_alpha, log_kappa, log_delta, log_sigma = p
    if min(C1, C2, C3, E) <= 0:
        return -math.inf
    total = 0.0
    for least in (
        max(abs(A) / 0.6, C1 / 1.25),
        max(abs(B) / 0.5, C2),
        max(C3, E / 2),
    ):
        if least >= 1:
            return -math.inf
        total += math.log(1 / least - 1)
    for x, mean, std in ((log_alpha, 0, 2), (log_kappa, -2, 1), (log_delta, 0, 0.5)):
        total -= 0.5 * ((x - mean) / std) ** 2
    total -= 0.5 * (log_sigma + 4) ** 2
    for y, f in zip(observed, curve, strict=False):
        total -= 0.5 * ((y - f) / math.exp(log_sigma)) ** 2 + log_sigma
    return total


def test_density_equals_the_scalar_form(bank):
    rng = np.random.default_rng(0)
    p = bank.parameters[:300] + 0.03 * rng.standard_normal((300, 10))
    p[::10, :6] *= 5  # outside
    observed = bank.noisy[7, :12]
    expected = [log_posterior(row, observed) for row in p]
    got = Target(observed)(p)
    assert np.isfinite(got).sum() > 50
    assert np.isneginf(got).sum() > 50
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_density_is_the_priors_with_its_weights_integrated_out():
    """p(A, C1, …) by quadrature over the three weights, up to one constant for all."""
    rng = np.random.default_rng(3)
    p = draw(40, rng).parameters
    w = (np.arange(200_000) + 0.5) / 200_000

    def integral(first, first_width, second, second_width):
        inside = (abs(first) <= first_width[0] * w) & (second <= second_width * w)
        return np.mean(inside / w**2) / (2 * first_width[0] * second_width)

    log_products = []
    for A, C1, B, C2, C3, E in p[:, :6]:
        one = integral(A, (0.6,), C1, 1.25)
        two = integral(B, (0.5,), C2, 1.0)
        three = np.mean(((w >= C3) & (2 * w >= E)) / w**2) / 2
        log_products.append(np.log(one * two * three))
    normals = -0.5 * np.square((p[:, 6:] - [0, -2, 0, -4]) / [2, 1, 0.5, 1]).sum(axis=1)
    difference = log_density(p) - (np.array(log_products) + normals)
    assert np.ptp(difference) < 5e-3


def test_draws_are_those_of_the_prior_that_models_are_trained_on():
    import torch

    from foretoken.models.lcpfn.prior import sample

    mine = draw(20_000, np.random.default_rng(5))
    theirs = sample(20_000, prior="paper", generator=torch.Generator().manual_seed(5))
    levels = np.linspace(0.05, 0.95, 10)
    for t in (0, 9, 49, 99):
        for a, b in ((mine.clean, theirs.clean), (mine.noisy, theirs.noisy)):
            gap = np.quantile(a[:, t], levels) - np.quantile(b[:, t].numpy(), levels)
            assert np.abs(gap).max() < 0.02
    assert valid(mine.clean).all()
    spread = np.log(np.std(mine.noisy - mine.clean, axis=1))
    assert spread.mean() == pytest.approx(-4, abs=0.03)
    assert spread.std() == pytest.approx(1, abs=0.03)


def test_whitening_keeps_the_density_and_rounds_the_posterior(bank):
    observed = bank.noisy[7, :12]
    target = WhitenedTarget(observed, bank)
    p = starts(observed, 50, bank)
    points = target.whitening.points(p)
    back, log_volume = target.whitening.parameters(points)
    np.testing.assert_allclose(back, p, atol=1e-9)
    np.testing.assert_allclose(target(points), Target(observed)(p) + log_volume, rtol=1e-9)
    # |d parameters / d points| by central differences at one point.
    h = 1e-5
    jacobian = np.empty((10, 10))
    for j in range(10):
        step = h * np.eye(10)[j]
        ends = target.whitening.parameters(np.stack([points[0] + step, points[0] - step]))[0]
        jacobian[:, j] = (ends[0] - ends[1]) / (2 * h)
    assert np.linalg.slogdet(jacobian)[1] == pytest.approx(log_volume[0], abs=1e-4)


def test_whitened_coordinates_are_standard_normal_for_a_normal_prior():
    """Draws of ℓ from its conditional normal posterior, by linear algebra alone, come out round."""
    rng = np.random.default_rng(2)
    bank = draw(5_000, rng)
    observed = bank.noisy[3, :15]
    whitening = WhitenedTarget(observed, bank).whitening
    rest = np.array([0.3, -1.0, 0.1, -3.5])
    t = np.arange(1, 16)
    basis = np.stack([np.ones(15), -(t ** -np.exp(rest[0])), -1 / np.log(t + 1)], axis=1)
    decay = np.exp(-np.exp(rest[1]) * t ** np.exp(rest[2]))
    one, power, logarithm = basis.T
    X = np.stack([power, one, logarithm, one, one - decay, decay], axis=1)
    prior = bank.parameters[:, :6]
    inverse = np.linalg.inv(np.cov(prior, rowvar=False))
    precision = X.T @ X / np.exp(2 * rest[3]) + inverse
    mean = np.linalg.solve(
        precision, X.T @ observed / np.exp(2 * rest[3]) + inverse @ prior.mean(axis=0)
    )
    linear = rng.multivariate_normal(mean, np.linalg.inv(precision), 20_000)
    points = whitening.points(np.hstack([linear, np.tile(rest, (20_000, 1))]))
    np.testing.assert_allclose(points[:, :6].mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(points[:, :6], rowvar=False), np.eye(6), atol=0.04)


def test_starts_are_valid_near_the_data_and_apart(bank):
    observed = bank.noisy[11, :20]
    p = starts(observed, 100, bank)
    assert np.isfinite(Target(observed)(p)).all()
    residual = np.abs(clean_curves(p)[:, :20] - observed).mean(axis=1)
    typical = np.abs(bank.clean[:, :20] - observed).mean(axis=1)
    assert residual.max() < np.quantile(typical, 0.01)
    assert np.linalg.matrix_rank(p - p.mean(axis=0)) == 10


def exact(curve, cutoff, few, bank):
    """Log density and probability below at later steps ``few``, by importance sampling from the
    prior, with σ on a grid."""
    grid = np.linspace(-8, 0, 65)
    squares = np.square(bank.clean[:, :cutoff] - curve[:cutoff]).sum(axis=1)
    weight = -0.5 * squares[:, None] * np.exp(-2 * grid) - cutoff * grid - 0.5 * (grid + 4) ** 2
    z = (curve[few, None, None] - bank.clean.T[few][:, :, None]) * np.exp(-grid)
    part = -0.5 * z**2 - grid - 0.5 * math.log(2 * math.pi)
    total = logsumexp(weight)
    below = (np.exp(weight - total) * ndtr(z)).sum(axis=(1, 2))
    return logsumexp(weight + part, axis=(1, 2)) - total, below


@pytest.mark.parametrize("move", ["difference", "stretch"])
def test_chain_finds_the_posterior(bank, move):
    curve, cutoff = draw(3, np.random.default_rng(77)).noisy[1], 2
    few = [2, 20, 60, 99]
    got = run(curve, cutoff, [Schedule(60, 500, 4_000)], bank, seed=0, move=move)
    log_density, below = exact(curve, cutoff, few, bank)
    at = [t - cutoff for t in few]
    # Both sides are Monte Carlo, of about 1,000 effective samples; the tails are the noisiest.
    np.testing.assert_allclose(got.pit[at], below, atol=0.08)
    np.testing.assert_allclose(got.log_density[at], log_density, atol=0.4)
    assert got.log_scores[-1] == pytest.approx(got.log_density.mean())


def test_schedules_share_one_run_and_the_seed_decides_it(bank):
    curve = bank.noisy[5]
    short, longer = Schedule(40, 50, 200), Schedule(40, 100, 400)
    both = run(curve, 10, [short, longer], bank, seed=3)
    again = run(curve, 10, [short, longer], bank, seed=3)
    alone = run(curve, 10, [short], bank, seed=3)
    other = run(curve, 10, [short], bank, seed=4)
    np.testing.assert_array_equal(both.log_scores, again.log_scores)
    assert both.log_scores[0] == alone.log_scores[0]
    assert both.log_scores[0] != other.log_scores[0]
    assert both.tau.shape == (10,)
    assert both.tau_predicted.shape == (3,)
    assert 0 < both.acceptance < 1
    assert both.seconds > 0


def test_walker_by_walker_runs_the_same_target(bank, monkeypatch):
    asked = []
    plain = Target.__call__

    def counted(self, p):
        asked.append(len(p))
        return plain(self, p)

    monkeypatch.setattr(Target, "__call__", counted)
    observed = bank.noisy[5, :10]
    first = starts(observed, 40, bank)
    walker_by_walker(observed, first, 3)
    assert asked == [1] * (40 + 3 * 40)


def test_emcees_snooker_move_is_left_out_for_a_reason():
    """It does not keep a standard normal; the moves offered here do."""
    import emcee

    def normal(p):
        return -0.5 * np.square(p).sum(axis=1)

    def variance(move):
        sampler = emcee.EnsembleSampler(60, 10, normal, moves=move, vectorize=True)
        rng = np.random.RandomState(0)
        sampler.run_mcmc(emcee.State(rng.randn(60, 10), random_state=rng.get_state()), 1500)
        return sampler.get_chain(discard=300).var()

    for move in chain.MOVES.values():
        assert variance(move) == pytest.approx(1, abs=0.06)
    assert variance(emcee.moves.DESnookerMove()) < 0.8


def test_cache_keeps_runs_and_refuses_stale_ones(tmp_path):
    made = []

    def sample():
        made.append(1)
        return Run(*(np.full(k, 0.1) for k in (3, 5, 5, 10, 3)), 0.2, 1.0, 0.9)

    path = tmp_path / "kept" / "a.json"
    key = key_of(curve=np.arange(3.0), cutoff=10)
    assert cached(path, key, None) is None
    first = cached(path, key, sample)
    second = cached(path, key, sample)
    assert len(made) == 1
    np.testing.assert_array_equal(first.pit, second.pit)
    assert second.acceptance == 0.2
    other = key_of(curve=np.arange(3.0) + 1e-9, cutoff=10)
    assert other != key
    assert cached(path, other, None) is None
    cached(path, other, sample)
    assert len(made) == 2


def test_a_walker_that_never_moves_is_replaced(bank, monkeypatch):
    curve, cutoff = bank.noisy[5], 10
    nearest = starts(curve[:cutoff], 80, bank)
    # A start with its power law shrunk to a speck: nearly the same curve, on a spike of the prior.
    specks = nearest.copy()
    specks[:, 3] += specks[:, 1] - specks[:, 0]
    specks[:, :2] = 1e-12
    density = Target(curve[:cutoff])(specks)
    speck = specks[np.argmax(density)]
    assert density.max() > Target(curve[:cutoff])(nearest).max() + 5
    planted = nearest.copy()
    planted[7] = speck
    begun = []
    plain = chain._sampled

    def spy(target, first, *rest):
        begun.append(first.copy())
        return plain(target, first, *rest)

    monkeypatch.setattr(chain, "_sampled", spy)
    monkeypatch.setattr(chain, "starts", lambda *_: planted.copy())
    answer = chain.extrapolate(curve, cutoff, Schedule(40, 50, 400), bank, 0, "difference")
    assert [(first == speck).all(axis=1).any() for first in begun] == [True, False]
    np.testing.assert_array_equal(begun[1][7], planted[40])
    assert (np.ptp(answer.chain, axis=0).max(axis=1) > 0).all()
