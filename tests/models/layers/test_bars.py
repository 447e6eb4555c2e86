"""The torch bar loss is the NumPy distribution's log density."""

import numpy as np
import torch

from foretoken.distributions import BarDistribution
from foretoken.models.layers.bars import bar_nll, equal_mass_borders


def test_loss_equals_the_distribution_and_has_gradients():
    rng = np.random.default_rng(0)
    borders = np.sort(rng.normal(size=12))
    logits = torch.tensor(rng.normal(size=(5, 4, 11)), requires_grad=True)
    y = np.concatenate([rng.normal(scale=3, size=18), borders[[0, 5]]]).reshape(5, 4)
    loss = bar_nll(logits, torch.from_numpy(y), torch.from_numpy(borders))
    wanted = -BarDistribution(borders).log_prob(logits.detach().numpy(), y)
    np.testing.assert_allclose(loss.detach().numpy(), wanted, rtol=1e-12)
    loss.sum().backward()
    # The gradient of a log-softmax sums to zero, and the chosen bar's logit gains.
    np.testing.assert_allclose(logits.grad.sum(-1).numpy(), 0, atol=1e-12)
    assert (logits.grad.min(-1).values < 0).all()


def test_half_precision_logits_are_computed_in_single():
    logits = torch.zeros(3, 4, dtype=torch.bfloat16)
    loss = bar_nll(logits, torch.tensor([0.1, 0.5, 0.9]), torch.linspace(0, 1, 5))
    assert loss.dtype == torch.float32


def test_equal_mass_borders_match_the_numpy_ones():
    y = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = equal_mass_borders(y, 10).numpy()
    counts, _ = np.histogram(y.numpy(), bins=[-9, *ours[1:-1], 9])
    assert (counts == 100).all()
    np.testing.assert_allclose(ours[1:-1], BarDistribution.from_samples(y, 10).borders[1:-1], 1e-6)
    # Half of the outermost groups lie within the outer borders.
    inside = ((y >= ours[0]) & (y <= ours[-1])).sum()
    assert abs(int(inside) - 900) <= 1
