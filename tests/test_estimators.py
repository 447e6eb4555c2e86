"""CurveExtrapolator in the caller's own process and units."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken import CurveExtrapolator
from foretoken.errors import InvalidInput, NotFound
from foretoken.models.artefact import Artefact
from foretoken.server.app import local_plane
from foretoken.server.settings import load_settings


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, tiny_lcpfn):
    folder = tmp_path_factory.mktemp("estimators")
    plane = local_plane(load_settings(data_dir=folder))
    plane.registry.register("tiny", Artefact.read(tiny_lcpfn))
    return folder


@pytest.fixture
def extrapolator(data_dir):
    return CurveExtrapolator("tiny", data_dir=data_dir)


def test_steps_and_horizon_have_defaults(extrapolator):
    posterior = extrapolator.extrapolate([0.2, 0.4, 0.5])
    np.testing.assert_array_equal(posterior.steps, np.arange(4, 101))
    assert posterior.levels.tolist() == [0.05, 0.5, 0.95]


def test_default_steps_ahead_keep_the_callers_spacing(extrapolator):
    posterior = extrapolator.extrapolate([0.2, 0.4, 0.5], steps=[500, 1000, 1500])
    assert posterior.steps[:2].tolist() == [2000, 2500]
    assert len(posterior.steps) == 97


def test_a_long_curve_is_followed_to_twice_its_length(extrapolator):
    posterior = extrapolator.extrapolate(np.linspace(0.1, 0.9, 150))
    assert posterior.steps[[0, -1]].tolist() == [151, 300]


def test_many_curves_are_answered_as_each_alone(extrapolator):
    curves = [[0.1, 0.3], [0.2, 0.25, 0.3, 0.2], [0.5]]
    for curve, posterior in zip(curves, extrapolator.extrapolate_many(curves), strict=True):
        np.testing.assert_allclose(posterior.mean, extrapolator.extrapolate(curve).mean, atol=1e-4)


def test_units_scale_with_the_caller(data_dir):
    y = np.array([20.0, 40.0, 50.0])
    percent = CurveExtrapolator("tiny", bounds=(0, 100), data_dir=data_dir).extrapolate(y)
    share = CurveExtrapolator("tiny", data_dir=data_dir).extrapolate(y / 100)
    np.testing.assert_allclose(percent.mean, 100 * share.mean, rtol=1e-3)
    np.testing.assert_allclose(percent.exceeds(60.0), share.exceeds(0.6), atol=1e-4)


def test_an_error_is_an_accuracy_upside_down(data_dir):
    y = np.array([0.8, 0.6, 0.5])
    error = CurveExtrapolator("tiny", minimize=True, data_dir=data_dir).extrapolate(y)
    accuracy = CurveExtrapolator("tiny", data_dir=data_dir).extrapolate(1 - y)
    np.testing.assert_allclose(error.mean, 1 - accuracy.mean, atol=1e-4)
    np.testing.assert_allclose(error.beats(0.4), accuracy.beats(0.6), atol=1e-4)


def test_an_unknown_model_is_not_found(data_dir):
    with pytest.raises(NotFound, match="nothing"):
        CurveExtrapolator("nothing", data_dir=data_dir).extrapolate([0.1])


def test_a_server_goes_without_a_data_dir_and_needs_an_address(tmp_path):
    with pytest.raises(InvalidInput, match="data_dir"):
        CurveExtrapolator(server="localhost:8100", data_dir=tmp_path)
    with pytest.raises(InvalidInput, match="host:port"):
        CurveExtrapolator(server="http://localhost:8100/")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"y": []}, "at least one"),
        ({"y": "high"}, "numbers"),
        ({"y": [0.1, 0.2], "steps": [1]}, "same"),
        ({"y": [0.1, 1.2]}, "outside bounds"),
        ({"y": [0.1], "quantiles": [5]}, "strictly"),
        ({"y": [0.1], "at": [[1, 2]]}, "list of finite numbers"),
    ],
)
def test_bad_input_is_refused_with_a_cure(extrapolator, given, said):
    with pytest.raises(InvalidInput, match=said):
        extrapolator.extrapolate(**given)


def test_lists_of_steps_must_match_the_curves(extrapolator):
    with pytest.raises(InvalidInput, match="2 curves need as many of steps"):
        extrapolator.extrapolate_many([[0.1], [0.2]], steps=[[1]])
