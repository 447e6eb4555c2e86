"""Training on synthetic series: batches are honest, the loss falls, the artefact loads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from foretoken.errors import FailedPrecondition, InvalidInput
from foretoken.exporters.modules import load_module
from foretoken.models.aaren import FAMILY
from foretoken.models.aaren.forecasting import futures, pinball, seasonal_naive
from foretoken.models.aaren.train import PRESETS, PriorTask, run, train
from foretoken.models.artefact import Artefact
from foretoken.models.layers.mixers.aaren import Aaren
from foretoken.models.recipes import parse
from foretoken.models.training import Recipe
from tests.models.aaren.conftest import FORECASTER

SHORT = Recipe(steps=40, lr=5e-3, precision="bf16", fp32_tail=0.2, log_every=10)
TINY = replace(PRESETS["nano"], config=FORECASTER, recipe=SHORT, batch=4)


@pytest.fixture(scope="module")
def task():
    return PriorTask(TINY)


def test_batches_follow_from_the_generator_and_leave_room_ahead(task):
    one, again = (task.batch(torch.Generator().manual_seed(3), 0) for _ in range(2))
    assert all(map(torch.equal, one, again))
    shapes = set()
    generator = torch.Generator().manual_seed(0)
    for step in range(12):
        y, at = task.batch(generator, step)
        T = y.shape[1] - FORECASTER.horizon
        shapes.add(y.shape)
        assert y.dtype == torch.float64
        assert (at.diff() > 0).all()
        assert 0 <= at[0] <= at[-1] < T
        assert len(at) == T // 4
    assert len(shapes) > 1


def test_futures_are_what_comes_after():
    y = torch.arange(20.0)[None]
    assert futures(y, torch.tensor([0, 4]), 3).tolist() == [[[1, 2, 3], [5, 6, 7]]]


def test_the_seasonal_naive_forecast_repeats_the_last_season():
    y = torch.arange(20.0)[None]
    made = seasonal_naive(y, torch.tensor([9]), 5, 3)
    assert made.tolist() == [[[7, 8, 9, 7, 8]]]
    assert seasonal_naive(y, torch.tensor([9]), 3, 1).tolist() == [[[9, 9, 9]]]


def test_pinball_is_least_at_the_quantiles():
    y = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0)).double()
    levels = (0.1, 0.5, 0.9)
    true = torch.tensor([-1.2816, 0.0, 1.2816], dtype=torch.float64)
    best = pinball(true[:, None].expand(len(y), 3, 1), y, levels).mean(0)[:, 0]
    for other in (true - 0.1, true + 0.1):
        worse = pinball(other[:, None].expand(len(y), 3, 1), y, levels).mean(0)[:, 0]
        assert (worse > best).all()


def test_the_loss_falls_and_what_was_trained_can_be_served(tmp_path, task):
    rows = []
    result = train(
        task, FORECASTER, SHORT, "made up", out=tmp_path, progress=lambda _, row: rows.append(row)
    )
    assert result.finished
    assert rows[-1]["loss"] < rows[0]["loss"]
    artefact = Artefact.read(tmp_path / "artefact")
    assert artefact.family == "aaren"
    assert artefact.training["data"] == "made up"
    assert set(artefact.training["held_out"]) == {"wql", "mae", "mae_seasonal"}
    module = load_module(artefact, FAMILY)
    x = torch.randn(1, 10, 1, dtype=torch.float64)
    with torch.no_grad():
        z, *_ = module.scan(x, torch.tensor([10]), *module.start(1).values())
    assert z.shape == (1, 10, len(FORECASTER.levels), FORECASTER.horizon)
    with pytest.raises(FailedPrecondition, match=r"recipe\.seed"):
        train(task, FORECASTER, replace(SHORT, seed=1), "made up", out=tmp_path)


def test_any_mixer_can_be_trained():
    made = []

    def mixer(layer):
        made.append(layer)
        return Aaren(16, 2, folded=False)

    task = PriorTask(TINY, mixer=mixer)
    assert made == [0, 1]
    loss = task.loss(task.module, task.batch(torch.Generator().manual_seed(0), 0))
    loss.backward()
    assert all(p.grad is not None for p in task.module.stack.parameters())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target": "OT"}, "target without csv"),
        ({"series": "id"}, "series without csv"),
        ({"head": "classifier"}, "give csv, target"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, given, said):
    options = parse(FAMILY.recipe.options, given)
    with pytest.raises(InvalidInput, match=said):
        run("nano", options, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_presets_are_those_that_the_family_lists():
    assert set(FAMILY.recipe.presets) == set(PRESETS)
