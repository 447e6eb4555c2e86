"""LC-PFN's request logic: grids, thinning, bounds, and refusals with a cure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretoken.errors import InvalidInput
from foretoken.models.lcpfn.predict import CurvePredictor, on_grid, soft_bounds, thinned
from foretoken.models.tasks import CurveRequest

BARS = 8
PREDICTOR = CurvePredictor(np.linspace(0, 1, BARS + 1).astype(np.float32), "bounds")


def _request(values, steps=None, at=(50.0, 100.0), quantiles=(0.5,), **options):
    values = np.asarray(values, float)
    steps = np.arange(1.0, len(values) + 1) if steps is None else np.asarray(steps, float)
    return CurveRequest(values, steps, np.asarray(at, float), np.asarray(quantiles), **options)


def _answer(request, logits=None):
    """What the predictor asks of the model, and its reply to ``logits`` [Q, BARS]."""
    steps = PREDICTOR.predict(request)
    (call,) = next(steps)
    if logits is None:
        logits = np.zeros((len(request.at), BARS), np.float32)
    with pytest.raises(StopIteration) as end:
        steps.send([{"logits": logits[None]}])
    return call.inputs, end.value.value


def test_steps_that_fit_the_grid_are_used_as_they_are():
    inputs, reply = _answer(_request([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(inputs["steps"], [[1, 2, 3]])
    np.testing.assert_array_equal(inputs["at"], [[50, 100]])
    np.testing.assert_array_equal(inputs["n"], [3])
    np.testing.assert_array_equal(reply.steps, [50, 100])


def test_other_steps_are_stretched_and_the_reply_keeps_the_callers():
    request = _request([0.1, 0.2, 0.3], steps=[0, 1000, 2000], at=[3000, 4000])
    inputs, reply = _answer(request)
    np.testing.assert_allclose(inputs["steps"], [[1, 25.75, 50.5]])
    np.testing.assert_allclose(inputs["at"], [[75.25, 100]])
    np.testing.assert_array_equal(reply.steps, [3000, 4000])


@given(
    st.lists(st.integers(0, 10**6), min_size=2, max_size=30, unique=True).map(sorted),
    st.integers(1, 29),
)
def test_the_grid_keeps_order_and_stays_within_its_ends(every, cut):
    all_steps = np.array(every, float)
    cut = min(cut, len(every) - 1)
    steps, at = on_grid(all_steps[:cut], all_steps[cut:])
    both = np.concatenate([steps, at])
    assert (np.diff(both) > 0).all()
    assert both[0] >= 1
    assert both[-1] <= 100 + 1e-9


def test_a_single_step_asked_of_itself_has_a_place():
    steps, at = on_grid(np.array([500.0]), np.array([500.0]))
    assert steps.tolist() == at.tolist() == [1.0]


@given(st.integers(1, 5000))
def test_long_curves_are_thinned_evenly_with_their_ends(n):
    kept = thinned(n)
    assert len(kept) == min(n, 100)
    assert kept[0] == 0
    assert kept[-1] == n - 1
    assert len(set(np.diff(kept).tolist())) <= 2


def test_a_thousand_points_reach_the_model_as_a_hundred():
    inputs, _ = _answer(_request(np.linspace(0, 0.5, 1000), at=[1500.0]))
    assert inputs["values"].shape == (1, 100)
    assert inputs["values"][0, -1] == pytest.approx(0.5)


def test_minimised_metrics_come_back_in_their_own_direction():
    logits = np.zeros((1, BARS), np.float32)
    logits[0, -1] = 20  # the best that there is on the model's scale
    _, reply = _answer(_request([0.9, 0.8], at=[100.0], minimize=True), logits)
    assert reply.mean[0] < 0.2
    assert reply.quantiles.shape == (1, 1)


def test_infinite_bounds_take_soft_ones_from_the_values():
    inputs, reply = _answer(
        _request([50.0, 2.0, 1.5, 1.4], minimize=True, bounds=(0, np.inf), at=[10.0])
    )
    assert reply.scale.soft_bounds == pytest.approx((1.05, 1.75))  # 1.4 -+ 0.35
    assert ((inputs["values"] >= 0) & (inputs["values"] <= 1)).all()
    assert np.isfinite(reply.mean).all()


@pytest.mark.parametrize("values", [[0.0], [3.0], [-2.0, -2.0], [1e-12, 2e-12]])
def test_soft_bounds_have_width_whatever_was_seen(values):
    low, high = soft_bounds(np.array(values), (-np.inf, np.inf), minimize=True)
    assert low < high


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": [2, 1, 3]}, "out of order"),
        ({"steps": [1, 1, 3]}, "duplicate"),
        ({"steps": [1, 2]}, "same"),
        ({"steps": [-1, 2, 3]}, "negative"),
        ({"values": [0.1, np.nan, 0.3]}, "entry 1 is nan"),
        ({"values": [0.1, 1.2, 0.3]}, "outside bounds"),
        ({"values": [], "steps": []}, "non-empty"),
        ({"at": []}, "non-empty"),
        ({"at": [3, 2]}, "out of order"),
        ({"quantiles": [0.0]}, "strictly"),
        ({"quantiles": [1.5]}, "strictly"),
        ({"bounds": (1, 0)}, "low < high"),
    ],
)
def test_bad_curves_are_refused_with_a_cure(change, said):
    with pytest.raises(InvalidInput, match=said):
        _request(**{"values": [0.1, 0.2, 0.3], **change})


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12),
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5),
    st.booleans(),
    st.booleans(),
)
def test_the_frame_of_serving_is_the_frame_of_training(seen, later, bounded_below, bounded_above):
    import torch

    from foretoken.models.lcpfn.frame import observed_frame
    from foretoken.normalise import Normaliser

    y = torch.tensor([later], dtype=torch.float64)
    hard = torch.tensor([[bounded_below, bounded_above]])
    frame = observed_frame(torch.tensor([seen], dtype=torch.float64), hard)
    bounds = (0.0 if bounded_below else -np.inf, 1.0 if bounded_above else np.inf)
    ours = Normaliser(False, bounds, soft_bounds(np.array(seen), bounds, minimize=False))
    np.testing.assert_allclose(ours.forward(later), frame.forward(y)[0], atol=1e-9)
    np.testing.assert_allclose(ours.log_slope(later), frame.log_slope(y)[0], atol=1e-6)
