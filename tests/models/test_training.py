"""The training loop: schedule, averages, logs, and resuming bit for bit."""

import csv
import json
import os
import shutil
import signal
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from foretoken.errors import DataLoss, FailedPrecondition, InvalidInput
from foretoken.models.layers.checkpoint import CsvLog
from foretoken.models.training import Recipe, learning_rate, train

RECIPE = Recipe(steps=24, lr=0.05, warmup=0.25, weight_decay=0.1, ema=0.9, log_every=5, seed=3)


class Line:
    """Fit y = 2x + 1 with a small network that has dropout, so that every RNG matters."""

    def __init__(self, interrupt_at=None, poison_at=None, settings=None):
        torch.manual_seed(7)
        self.settings = settings or {"slope": 2, "noise": {"kind": "none", "std": 0.0}}
        self.module = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.interrupt_at, self.poison_at = interrupt_at, poison_at

    def batch(self, generator, step):
        if step == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        x = torch.randn(16, 1, generator=generator)
        y = 2 * x + 1
        return x, y * (float("nan") if step == self.poison_at else 1.0)

    def loss(self, module, batch):
        x, y = batch
        return ((module(x) - y) ** 2).mean()

    def evaluate(self, module):
        assert not module.training
        x = torch.linspace(-1, 1, 5)[:, None]
        return {"error": float(((module(x) - 2 * x - 1) ** 2).mean())}


def silent(done, row):
    assert 0 <= done <= 1
    assert row["step"] > 0


def run(out, recipe=RECIPE, **options):
    return train(Line(**options), recipe, out, progress=silent)


def rows(out):
    with (out / "log.csv").open(newline="") as f:
        return [{k: v for k, v in row.items() if k != "minutes"} for row in csv.DictReader(f)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_is_bit_identical(tmp_path, precision):
    recipe = replace(RECIPE, precision=precision, gradient_noise=0.1)
    whole = run(tmp_path / "whole", recipe)
    for at in (4, 13):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", recipe, interrupt_at=at)
        state = json.loads((tmp_path / "parts/checkpoint.json").read_text())
        assert state["steps"] == at + 1
    parts = run(tmp_path / "parts", recipe)
    assert parts.steps == whole.steps == 24
    assert parts.finished
    assert parts.figures == whole.figures
    for name, tensor in whole.parameters.items():
        assert torch.equal(parts.parameters[name], tensor), name
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    assert [int(row["step"]) for row in rows(tmp_path / "parts")] == [5, 10, 15, 20]


def test_training_learns_and_the_seed_decides(tmp_path):
    first = run(tmp_path / "a", replace(RECIPE, steps=300))
    assert first.figures["error"] < 0.05
    again = run(tmp_path / "b", replace(RECIPE, steps=300))
    assert torch.equal(first.parameters["0.weight"], again.parameters["0.weight"])
    other = run(tmp_path / "c", replace(RECIPE, steps=300, seed=4))
    assert not torch.equal(first.parameters["0.weight"], other.parameters["0.weight"])


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = run(tmp_path)
    again = run(tmp_path, interrupt_at=24)  # a further step would raise
    assert again.steps == 24
    assert torch.equal(first.parameters["2.weight"], again.parameters["2.weight"])


def test_the_average_is_exponential_and_served(tmp_path):
    """Steps of a fixed gradient: with betas 0 each AdamW step moves the weight by lr."""

    class Walk:
        settings: ClassVar = {}

        def __init__(self):
            self.module = nn.Linear(1, 1, bias=False)
            nn.init.zeros_(self.module.weight)

        def batch(self, generator, step):
            del generator, step
            return (torch.ones(1, 1),)

        def loss(self, module, batch):
            return -module(*batch).sum()

        def evaluate(self, module):
            return {"weight": float(module.weight)}

    recipe = Recipe(steps=6, lr=0.1, warmup=0.0, final_lr=1.0, betas=(0.0, 0.0), ema=0.6)
    average = 0.0
    for step in range(1, 7):
        decay = min(0.6, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * 0.1 * step
    result = train(Walk(), recipe, tmp_path / "ema", progress=silent)
    assert result.figures["weight"] == pytest.approx(average, rel=1e-5)
    plain = train(Walk(), replace(recipe, ema=0.0), tmp_path / "plain", progress=silent)
    assert plain.figures["weight"] == pytest.approx(0.6, rel=1e-5)


def test_schedule_rises_linearly_and_falls_as_a_cosine():
    recipe = Recipe(steps=1, lr=2.0, warmup=0.2, final_lr=0.1)
    assert learning_rate(recipe, 0.0) == 0
    assert learning_rate(recipe, 0.1) == pytest.approx(1.0)
    assert learning_rate(recipe, 0.2) == pytest.approx(2.0)
    assert learning_rate(recipe, 0.6) == pytest.approx(2.0 * 0.55)
    assert learning_rate(recipe, 1.0) == pytest.approx(0.2)
    values = [learning_rate(recipe, 0.2 + 0.8 * i / 50) for i in range(51)]
    assert values == sorted(values, reverse=True)


def test_a_budget_of_minutes_ends_the_run(tmp_path):
    recipe = replace(RECIPE, steps=None, max_minutes=0.01, log_every=1)
    result = run(tmp_path, recipe)
    assert result.finished
    assert 0.01 <= result.minutes < 0.2
    last = float(rows(tmp_path)[-1]["lr"])
    assert last < 0.05 * recipe.lr  # the schedule came to its end with the clock


def test_held_out_figures_and_checkpoints_are_written_on_the_way(tmp_path):
    recipe = replace(RECIPE, evaluate_minutes=0.0, checkpoint_minutes=0.0)
    run(tmp_path, recipe)
    assert all(float(row["error"]) >= 0 for row in rows(tmp_path))
    assert len(list(tmp_path.glob("checkpoint-*.safetensors"))) == 1
    assert not list(tmp_path.glob(".*.part"))


def test_columns_that_come_later_get_a_header(tmp_path):
    run(tmp_path, replace(RECIPE, evaluate_minutes=1e-6))
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert header == "step,minutes,loss,lr,grad_norm,error"


def test_divergence_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupt_at=6)
    with pytest.raises(FailedPrecondition, match="diverged"):
        run(tmp_path, poison_at=12)
    assert json.loads((tmp_path / "checkpoint.json").read_text())["steps"] == 7
    assert run(tmp_path).parameters["0.weight"].isfinite().all()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_learns_the_same(tmp_path):
    eager = run(tmp_path / "eager", replace(RECIPE, steps=300))
    compiled = run(tmp_path / "compiled", replace(RECIPE, steps=300, compile=True))
    assert compiled.parameters.keys() == eager.parameters.keys()
    assert compiled.figures["error"] < 0.05


def test_another_recipe_is_refused_by_name(tmp_path):
    run(tmp_path)
    with pytest.raises(FailedPrecondition, match="lr"):
        run(tmp_path, replace(RECIPE, lr=0.01))


def test_a_task_with_other_settings_is_refused_by_name(tmp_path):
    run(tmp_path)
    other = {"slope": 2, "noise": {"kind": "none", "std": 0.5}}
    with pytest.raises(FailedPrecondition, match=r"\(settings\.noise\.std\)"):
        run(tmp_path, settings=other)
    with pytest.raises(FailedPrecondition, match=r"settings\.depth"):
        run(tmp_path, settings={**Line().settings, "depth": 3})
    assert run(tmp_path).steps == 24


def test_a_checkpoint_that_tells_no_settings_is_refused(tmp_path):
    run(tmp_path)
    path = tmp_path / "checkpoint.json"
    said = json.loads(path.read_text())
    del said["settings"]
    path.write_text(json.dumps(said))
    with pytest.raises(FailedPrecondition, match=r"settings\.slope"):
        run(tmp_path)


def test_steps_are_logged_whole_however_many(tmp_path):
    log = CsvLog(tmp_path / "log.csv", 0)
    steps = (9_999_999, 10_000_000, 12_345_678, 12_345_679)
    for step in steps:
        log.write({"step": step, "loss": 0.123456789})
    resumed = CsvLog(tmp_path / "log.csv", steps[2])
    assert [int(row["step"]) for row in resumed.rows] == list(steps[:3])
    assert {row["loss"] for row in resumed.rows} == {"0.1234568"}


@pytest.mark.parametrize("damage", ["truncate", "remove", "json", "list"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    run(tmp_path)
    (tensors,) = tmp_path.glob("checkpoint-*.safetensors")
    if damage == "truncate":
        tensors.write_bytes(tensors.read_bytes()[:-7])
    elif damage == "remove":
        tensors.unlink()
    else:
        (tmp_path / "checkpoint.json").write_text("{" if damage == "json" else "[]")
    with pytest.raises(DataLoss, match="cannot be read"):
        run(tmp_path)


def test_recipes_that_cannot_work_are_refused():
    with pytest.raises(InvalidInput, match="never ends"):
        Recipe()
    with pytest.raises(InvalidInput, match="'fp32' or 'bf16'"):
        Recipe(steps=1, precision="fp16")
    with pytest.raises(InvalidInput, match="warmup"):
        Recipe(steps=1, warmup=1.0)


@pytest.mark.parametrize(
    "bound",
    [
        {"steps": 0},
        {"steps": -1},
        {"steps": 0, "max_minutes": 1},
        {"max_minutes": 0.0},
        {"max_minutes": -1.0},
        {"max_minutes": float("nan")},
        {"max_minutes": float("inf")},
        {"steps": 1, "log_every": 0},
        {"steps": 1, "log_every": -5},
    ],
)
def test_bounds_that_bound_nothing_are_refused(bound):
    with pytest.raises(InvalidInput, match=r"steps|max_minutes|log_every"):
        Recipe(**bound)
