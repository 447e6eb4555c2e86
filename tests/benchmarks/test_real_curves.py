"""Parametric fits recover curves of their own form; errors are in the stated unit."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.fits import FORMS, fit
from benchmarks.real_curves import CAP, Beginning

STEPS = 1 + 250.0 * np.arange(80)
T = np.linspace(1, 100, 80)  # the scale that fits use
CURVES = {
    "pow3": 0.8 - 0.5 * T**-0.6,
    "pow4": 0.9 - (0.3 * T + 1.5) ** -1.2,
    "mmf4": 0.75 - 0.6 / (1 + (0.08 * T) ** 1.5),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("minimize", [False, True])
def test_a_fit_finds_the_end_of_a_curve_of_its_form(name, minimize):
    values = 1 - CURVES[name] if minimize else CURVES[name]
    seen = 40
    end = fit(FORMS[name], STEPS[:seen], values[:seen], STEPS[-1], minimize=minimize)
    remaining = abs(values[-1] - values[seen - 1])
    assert abs(end - values[-1]) < 0.15 * remaining


@pytest.mark.parametrize("name", CURVES)
def test_a_fit_does_not_depend_on_the_units_of_values(name):
    rng = np.random.default_rng(0)
    values = CURVES[name] + 0.003 * rng.standard_normal(80)
    one = fit(FORMS[name], STEPS[:30], values[:30], STEPS[-1], minimize=False)
    percent = fit(FORMS[name], STEPS[:30], 100 * values[:30] - 7, STEPS[-1], minimize=False)
    assert percent == pytest.approx(100 * one - 7, abs=0.02)


def test_too_few_or_unmoved_points_give_the_last_value():
    assert fit(FORMS["pow3"], STEPS[:2], np.array([0.1, 0.2]), 100.0, minimize=False) == 0.2
    assert fit(FORMS["mmf4"], STEPS[:9], np.full(9, 0.3), 5000.0, minimize=True) == 0.3


def beginning(values, *, minimize, bounds=(0.0, 1.0)):
    values = np.array(values, float)
    steps = np.arange(1.0, len(values) + 1)
    return Beginning("algoperf/wmt/01", 0.5, steps, values, 2, minimize, bounds)


def test_the_unit_is_the_distance_from_first_to_best():
    up = beginning([0.1, 0.5, 0.9, 0.8], minimize=False)
    assert up.best() == 0.9
    assert up.best(2) == 0.5
    assert up.error(0.7) == pytest.approx(0.1 / 0.8)
    assert up.error(0.8) == 0
    down = beginning([0.9, 0.5, 0.1, 0.2], minimize=True)
    assert down.best() == 0.1
    assert down.error(0.5) == pytest.approx(0.3 / 0.8)
    assert down.workload == "wmt"


def test_errors_are_capped_and_predictions_kept_within_bounds():
    up = beginning([0.1, 0.11, 0.12, 0.11], minimize=False)
    assert up.error(0.9) == CAP
    assert up.error(7.0) == up.error(1.0) == CAP
    loss = beginning([3.0, 2.0, 1.0, 1.0], minimize=True, bounds=(0.0, np.inf))
    assert loss.error(-5.0) == pytest.approx(1.0 / 2.0), "a loss is not predicted below 0"
    flat = beginning([0.5, 0.4, 0.3, 0.3], minimize=False)
    assert flat.error(0.3) == 0
    assert flat.error(0.4) == CAP, "a curve that never improves has no unit"
