"""Normalisation of metrics: parity, round trips, slopes and refusals."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretoken.errors import InvalidInput
from foretoken.normalise import Normaliser

PARITY = Path(__file__).parents[2] / "shared/data/parity/lcpfn_small_random.npz"
OFFICIAL = {
    "acc": Normaliser(False, (0.0, 1.0), (0.0, 1.0)),
    "loss_inf": Normaliser(True, (0.0, math.inf), (0.0, 2.3)),
    "nb": Normaliser(True, (0.2, 1.4), (0.2, 1.0)),
}


@pytest.mark.skipif(not PARITY.exists(), reason="../shared/data/parity is not there")
@pytest.mark.parametrize("name", OFFICIAL)
def test_values_equal_the_authors(name):
    data, normaliser = np.load(PARITY), OFFICIAL[name]
    x = np.clip(data[f"norm/{name}/x"].astype(float), *normaliser.bounds)  # float32 rounding
    u = normaliser.forward(x)
    np.testing.assert_allclose(u, data[f"norm/{name}/y"], atol=1e-6)
    np.testing.assert_allclose(normaliser.inverse(u), data[f"norm/{name}/roundtrip"], atol=1e-5)


def test_accuracy_without_soft_bounds_is_left_alone():
    y = np.linspace(0, 1, 11)
    np.testing.assert_array_equal(Normaliser().forward(y), y)
    np.testing.assert_allclose(Normaliser(True, (2, 6)).forward([2, 3, 6]), [1, 0.75, 0])


bounds = st.tuples(
    st.floats(-100, 100), st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 10)
).map(lambda t: (t[0], t[0] + t[1], t[0] + t[1] + t[2], t[0] + t[1] + t[2] + t[3]))


@given(bounds, st.booleans(), st.booleans(), st.booleans(), st.floats(0.02, 0.98))
def test_round_trip_order_and_slope(b, minimize, open_low, open_high, share):
    hard = (-math.inf if open_low else b[0], math.inf if open_high else b[3])
    normaliser = Normaliser(minimize, hard, (b[1], b[2]))
    y = b[1] + share * (b[2] - b[1])
    u = normaliser.forward(y)
    np.testing.assert_allclose(normaliser.inverse(u), y, rtol=1e-9, atol=1e-9)
    h = 1e-5 * (b[2] - b[1])
    numeric = (normaliser.forward(y + h) - normaliser.forward(y - h)) / (2 * h)
    assert (numeric < 0) == minimize
    np.testing.assert_allclose(normaliser.slope(y), abs(numeric), rtol=1e-4)


def test_ends_map_to_ends_and_beyond():
    loss = OFFICIAL["loss_inf"]
    np.testing.assert_allclose(loss.forward([0, math.inf]), [1, 0])
    np.testing.assert_array_equal(loss.inverse([1, 1.5, 0, -0.2]), [0, 0, math.inf, math.inf])


@pytest.mark.parametrize(
    ("hard", "soft", "text"),
    [
        ((1, 0), None, "low < high"),
        ((math.nan, 1), (0, 1), "low < high"),
        ((0, math.inf), None, "soft_bounds"),
        ((0, 1), (0.5, 0.5), "finite low < high"),
        ((0, math.inf), (1, math.inf), "finite low < high"),
        ((0, 1), (-1, 1), "within the bounds"),
    ],
)
def test_bad_bounds_are_refused(hard, soft, text):
    with pytest.raises(InvalidInput, match=text):
        Normaliser(False, hard, soft)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan])
def test_values_off_the_bounds_are_refused(value):
    with pytest.raises(InvalidInput, match="outside the bounds"):
        Normaliser().forward([0.5, value])
