"""Both priors: acceptance rules, distribution, determinism."""

from pathlib import Path

import numpy as np
import pytest
import torch

from foretoken.errors import InvalidInput
from foretoken.models.lcpfn import curves
from foretoken.models.lcpfn.prior import sample
from foretoken.models.lcpfn.wide import CORRELATION_LENGTHS, disturb, wide_clean, wide_noise

PARITY = Path(__file__).parents[4] / "shared/data/parity/lcpfn_small_random.npz"
PRIORS = ("paper", "wide")


def draw(n, prior, seed=0):
    return sample(n, prior=prior, generator=torch.Generator().manual_seed(seed))


def ks_distance(a, b):
    """Kolmogorov-Smirnov statistic and its 0.1 % critical value."""
    both = np.sort(np.concatenate([a, b]))
    apart = np.searchsorted(np.sort(a), both, "right") / len(a)
    apart = np.abs(apart - np.searchsorted(np.sort(b), both, "right") / len(b)).max()
    return apart, 1.95 * np.sqrt((len(a) + len(b)) / (len(a) * len(b)))


def naive_paper_prior(n, seed):
    """The paper's prior curve by curve, in NumPy, as it is written down."""
    rng, x = np.random.default_rng(seed), np.arange(1, 101)
    clean, noisy, tries = [], [], 0
    while len(clean) < n:
        tries += 1
        w = rng.uniform(size=3)
        pow3 = rng.uniform(0, 1.25) - rng.uniform(-0.6, 0.6) * x ** -rng.lognormal(0, 2)
        ilog2 = rng.uniform(0, 1) - rng.uniform(-0.5, 0.5) / np.log(x + 1)
        a, beta = rng.uniform(0, 1), rng.uniform(0, 2)
        k, delta = rng.lognormal(-2, 1), rng.lognormal(0, 0.5)
        y = w @ [pow3, ilog2, a - (a - beta) * np.exp(-k * x**delta)]
        if y[-1] > y[0] and y.min() >= 0 and y.max() <= 1:
            clean.append(y)
            noisy.append(y + rng.normal(size=100) * np.exp(rng.normal(-4, 1)))
    return np.array(clean), np.array(noisy)


def features(clean, noisy):
    """One number per curve, by name, that together describe level, shape and noise."""
    steps = {f"y_{t}": clean[:, t - 1] for t in (1, 2, 5, 20, 50, 100)}
    return steps | {
        "gain": clean[:, -1] - clean[:, 0],
        "half-way": (clean[:, 49] - clean[:, 0]) / (clean[:, -1] - clean[:, 0]),
        "noise": np.log((noisy - clean).std(axis=1)),
        "overshoot": clean.max(axis=1) - clean[:, -1],
    }


def assert_same_distribution(ours, theirs):
    theirs = features(*theirs)
    for name, values in features(*ours).items():
        distance, critical = ks_distance(values, theirs[name])
        assert distance < critical, (name, distance, critical)


def test_the_paper_prior_is_the_one_written_down():
    ours = [c.double().numpy() for c in draw(20_000, "paper")]
    assert_same_distribution(ours, naive_paper_prior(1000, seed=1))


@pytest.mark.skipif(not PARITY.exists(), reason="../shared/data/parity is not there")
def test_the_paper_prior_is_the_authors():
    data = np.load(PARITY)
    ours = [c.double().numpy() for c in draw(20_000, "paper")]
    assert_same_distribution(ours, (data["prior/clean"], data["prior/noisy"]))


@pytest.mark.parametrize("prior", PRIORS)
def test_clean_curves_stay_in_the_unit_interval(prior):
    clean, noisy = draw(5000, prior)
    assert clean.shape == noisy.shape == (5000, 100)
    assert clean.dtype == noisy.dtype == torch.float32
    assert ((clean >= 0) & (clean <= 1)).all()
    assert noisy.isfinite().all()


def test_paper_curves_end_above_their_start_and_wide_ones_need_not():
    clean = draw(5000, "paper").clean
    assert (clean[:, -1] > clean[:, 0]).all()
    clean = draw(5000, "wide").clean
    falling = (clean[:, -1] < clean[:, 0]).float().mean()
    assert 0.001 < falling < 0.1


def test_the_wide_prior_reaches_what_the_paper_one_hardly_does():
    def shares(prior):
        y = draw(5000, prior).clean
        gain = y[:, -1] - y[:, 0]
        late_gain = (y[:, -1] - y[:, 69]) / gain.clamp_min(0.05)
        jump = y.diff(dim=1)[:, 4:].abs().max(dim=1).values
        return {
            "most of a large gain in one step": ((y[:, 1] - y[:, 0]) > 0.3).float().mean(),
            "late improvement": (late_gain > 0.3).float().mean(),
            "jumps after the fifth step": (jump > 0.1).float().mean(),
            "a fall from the best": (y.max(dim=1).values - y[:, -1] > 0.1).float().mean(),
        }

    narrow, wide = shares("paper"), shares("wide")
    for name in ("late improvement", "jumps after the fifth step"):
        assert wide[name] > 2 * narrow[name], (name, wide[name], narrow[name])
    assert all(share > 0.01 for share in wide.values()), wide


def test_undisturbed_wide_curves_rise_from_start_to_end():
    y = wide_clean(2000, 100, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert ((y >= -1e-6) & (y <= 1 + 1e-6)).all()
    assert (y.diff(dim=1) > -1e-5).all()


def test_nearly_all_wide_candidates_are_accepted():
    g = torch.Generator().manual_seed(0)
    y = disturb(wide_clean(5000, 100, torch.device("cpu"), g), g)
    assert ((y >= 0) & (y <= 1)).all(dim=1).float().mean() > 0.8


def test_wide_noise_is_centred_falls_over_time_and_is_correlated_for_some():
    g = torch.Generator().manual_seed(0)
    noise = wide_noise(torch.full((20_000, 100), 0.5), g)
    z = noise / noise.std(dim=1, keepdim=True)
    assert z.mean().abs() < 0.02
    assert noise[:, :5].std() > 1.2 * noise[:, -5:].std()
    autocorrelation = (z[:, 1:] * z[:, :-1]).mean(dim=1)
    assert (autocorrelation > 0.4).float().mean() > 0.1
    assert (autocorrelation.abs() < 0.2).float().mean() > 0.4
    assert len(CORRELATION_LENGTHS) == 3


@pytest.mark.parametrize("prior", PRIORS)
def test_the_seed_decides_everything(prior):
    torch.manual_seed(1)
    first = draw(300, prior, seed=5)
    torch.manual_seed(2)
    again = draw(300, prior, seed=5)
    assert torch.equal(first.clean, again.clean)
    assert torch.equal(first.noisy, again.noisy)
    assert not torch.equal(first.noisy, draw(300, prior, seed=6).noisy)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("n", [0, 1, 2049])
def test_any_number_of_curves(prior, n):
    assert draw(n, prior).noisy.shape == (n, 100)


def test_bad_requests_are_refused():
    with pytest.raises(InvalidInput, match="0 or more"):
        sample(-1)
    with pytest.raises(InvalidInput, match="'paper' or 'wide'"):
        sample(1, prior="narrow")


def test_forms_equal_their_definitions():
    x = torch.linspace(1, 100, 7, dtype=torch.float64)
    a, b, c, p = (torch.full((1, 1), v, dtype=torch.float64) for v in (0.7, 0.2, 0.9, 0.6))
    X, A, B, C, P = (t.numpy() for t in (x, a, b, c, p))
    pairs = [
        (curves.pow3(x, a=a, c=c, alpha=p), C - A * X**-P),
        (curves.pow4(x, a=a, b=b, c=c, alpha=p), C - (A * X + B) ** -P),
        (curves.ilog2(x, a=a, c=c), C - A / np.log(X + 1)),
        (curves.exp4(x, a=a, b=b, c=c, alpha=p), C - np.exp(-A * X**P + B)),
        (curves.janoschek(x, a=a, beta=b, k=c, delta=p), A - (A - B) * np.exp(-C * X**P)),
        (curves.weibull(x, a=a, beta=b, kappa=c, delta=p), A - (A - B) * np.exp(-((C * X) ** P))),
        (curves.mmf(x, a=a, beta=b, kappa=c, delta=p), A - (A - B) / (1 + (C * X) ** P)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-12)
