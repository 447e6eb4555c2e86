"""Our side is scored with a proper density on the prior's own, unbounded scale."""

from __future__ import annotations

import numpy as np
from scipy.integrate import trapezoid

from benchmarks.curves.ours import Ours
from benchmarks.curves.paper_prior import draw


def test_the_score_is_a_density_and_pit_its_integral():
    curve = draw(1, np.random.default_rng(4)).noisy[0]
    cutoff, grid = 15, np.linspace(-1.0, 2.0, 6001)
    ours = Ours("lcpfn")
    # The value to score stands at the last step only; the rest of the curve stays the same.
    curves = np.tile(curve, (61, 1))
    coarse = grid[::100]
    curves[:, -1] = coarse
    pit = ours.answer(curves, cutoff).pit[:, -1]
    assert (np.diff(pit) >= 0).all()
    assert pit[0] < 0.01
    assert pit[-1] > 0.99
    around = np.flatnonzero((pit > 0.02) & (pit < 0.98))
    low, high = max(around[0] - 1, 0), min(around[-1] + 1, 60)
    fine = grid[100 * low : 100 * high + 1]
    curves = np.tile(curve, (len(fine), 1))
    curves[:, -1] = fine
    scored = ours.answer(curves, cutoff)
    mass = trapezoid(np.exp(scored.log_density[:, -1]), fine)
    assert abs(mass - (scored.pit[-1, -1] - scored.pit[0, -1])) < 0.01


def test_many_curves_are_scored_as_each_alone():
    curves = draw(5, np.random.default_rng(6)).noisy
    ours = Ours("lcpfn")
    together = ours.answer(curves, 20)
    assert together.log_density.shape == together.pit.shape == (5, 80)
    for i in range(5):
        alone = ours.answer(curves[i : i + 1], 20)
        np.testing.assert_allclose(together.log_density[i], alone.log_density[0], atol=1e-3)
        np.testing.assert_allclose(together.pit[i], alone.pit[0], atol=1e-4)
