"""Request logic: units, options, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken.errors import InvalidInput
from foretoken.models.aaren.graphs import start
from foretoken.models.aaren.predict import ClassPredictor, ForecastPredictor
from foretoken.models.tasks import SequenceRequest

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture
def forecaster():
    config = {
        "head": "forecaster",
        "layers": 1,
        "heads": 2,
        "width": 4,
        "window": 6,
        "levels": LEVELS,
        "horizon": 4,
    }
    return ForecastPredictor(start(config), LEVELS, 4)


def answered(model, values, options, made):
    steps = model.predict(SequenceRequest(np.array(values), options))
    (call,) = next(steps)
    with pytest.raises(StopIteration) as ended:
        steps.send([made])
    return call, ended.value.value


def outputs(*leading):
    z = np.arange(12, dtype=np.float32).reshape(3, 4) / 10
    return {
        "z": np.broadcast_to(z, (*leading, 3, 4)),
        "loc": np.full(leading, 1e9),
        "scale": np.full(leading, 2.0),
        "anomaly": np.zeros(leading, np.float32),
    }


def test_one_value_is_a_step_and_several_are_a_scan(forecaster):
    call, reply = answered(forecaster, [[3.5]], {}, outputs(1))
    assert call.graph == "step"
    assert call.inputs["x"].dtype == np.float64
    assert call.inputs["x"].shape == (1, 1)
    assert reply.outputs["quantiles"].shape == (1, 3, 4)
    call, reply = answered(forecaster, [[3.5], [4.0]], {}, outputs(1, 2))
    assert call.graph == "scan"
    assert call.inputs["x"].shape == (1, 2, 1)
    assert call.inputs["length"].tolist() == [2]
    assert reply.outputs["quantiles"].shape == (2, 3, 4)
    assert reply.outputs["anomaly"].shape == (2,)


def test_quantiles_are_in_the_callers_units_to_the_last_digit(forecaster):
    _, reply = answered(forecaster, [[3.5]], {}, outputs(1))
    wanted = 1e9 + 2.0 * np.arange(12).reshape(3, 4) / 10
    np.testing.assert_allclose(reply.outputs["quantiles"][0], wanted, rtol=0, atol=1e-6)


def test_a_horizon_cuts_and_levels_are_interpolated(forecaster):
    options = forecaster.options({"horizon": 2, "quantiles": "0.1, 0.3,0.9"})
    assert options == {"horizon": 2.0, "quantiles": "0.1,0.3,0.9"}
    _, reply = answered(forecaster, [[3.5]], options, outputs(1))
    whole = 1e9 + 2.0 * np.arange(12).reshape(3, 4) / 10
    wanted = np.stack([whole[0], (whole[0] + whole[1]) / 2, whole[2]])[:, :2]
    np.testing.assert_allclose(reply.outputs["quantiles"][0], wanted, rtol=0, atol=1e-6)


def test_options_that_say_the_same_are_the_same(forecaster):
    full = {"horizon": 4.0, "quantiles": "0.1,0.5,0.9"}
    assert forecaster.options({}) == full
    assert forecaster.options({"horizon": "4"}) == full
    assert forecaster.options({"quantiles": "0.10,0.5,.9"}) == full
    assert forecaster.options(full) == full
    assert forecaster.options({"quantiles": 0.5})["quantiles"] == "0.5"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": 3}, "no such options: steps; there are horizon, quantiles"),
        ({"horizon": 0}, "from 1 to 4"),
        ({"horizon": 5}, "from 1 to 4"),
        ({"horizon": 1.5}, "a whole number"),
        ({"horizon": float("nan")}, "a whole number"),
        ({"horizon": "many"}, "'many'"),
        ({"quantiles": ""}, "rising levels from 0.1 to 0.9"),
        ({"quantiles": "0.5,0.1"}, "rising"),
        ({"quantiles": "0.5,0.5"}, "rising"),
        ({"quantiles": "0.05,0.5"}, "from 0.1"),
        ({"quantiles": "0.5,0.95"}, "to 0.9"),
        ({"quantiles": "nan"}, "rising"),
        ({"quantiles": "median"}, "'median'"),
    ],
)
def test_other_options_are_refused(forecaster, given, said):
    with pytest.raises(InvalidInput, match=said):
        forecaster.options(given)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e101, -1e200])
def test_what_is_no_number_is_refused_by_its_place(forecaster, value):
    with pytest.raises(InvalidInput, match="at step 1, column 0"):
        next(forecaster.predict(SequenceRequest(np.array([[1.0], [value]]))))


def test_a_forecaster_reads_one_value_at_a_time(forecaster):
    with pytest.raises(InvalidInput, match="reads 1 at each step"):
        next(forecaster.predict(SequenceRequest(np.zeros((3, 2)))))


def test_a_start_is_nobody_elses(forecaster):
    forecaster.start()["m"][:] = 7
    assert (forecaster.start()["m"] == np.float32(-1e30)).all()


def test_a_classifier_standardises_and_takes_no_options():
    config = {"head": "classifier", "layers": 1, "heads": 2, "width": 4, "window": 2, "inputs": 2}
    model = ClassPredictor(start(config), [1e9, 0.0], [2.0, 1.0])
    assert model.options({}) == {}
    with pytest.raises(InvalidInput, match="there are none"):
        model.options({"horizon": 3})
    made = {"probabilities": np.full((1, 2, 3), 1 / 3, np.float32)}
    call, reply = answered(model, [[1e9 + 2, 3.0], [1e9, -1.0]], {}, made)
    assert call.inputs["x"].dtype == np.float32
    assert call.inputs["x"].tolist() == [[[1.0, 3.0], [0.0, -1.0]]]
    assert reply.outputs["probabilities"].shape == (2, 3)
    call, _ = answered(model, [[-1e100, 0.0], [0.0, 1e100]], {}, made)
    assert call.inputs["x"].tolist() == [[[-1e4, 0.0], [-1e4, 1e4]]]
    with pytest.raises(InvalidInput, match="reads 2 at each step"):
        next(model.predict(SequenceRequest(np.zeros((1, 1)))))
