"""Training LC-PFN: batches are honest, the artefact loads, the loss falls."""

import random
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from foretoken.errors import FailedPrecondition, InvalidInput, Unsupported
from foretoken.models.artefact import Artefact
from foretoken.models.lcpfn import FAMILY
from foretoken.models.lcpfn.model import LCPFN, LCPFNConfig
from foretoken.models.lcpfn.train import PRESETS, CurveTask, main, observed_steps, train_lcpfn
from foretoken.models.training import Recipe

TINY = replace(
    PRESETS["nano"],
    config=LCPFNConfig(width=16, layers=1, heads=2, mlp=32, bars=50, norm_first=True),
    recipe=Recipe(steps=40, lr=5e-3, precision="bf16", fp32_tail=0.5, log_every=10),
    batch=16,
    queries=8,
)

SHORT = replace(TINY.recipe, steps=2)


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    """The folder of a run of two steps on the paper's prior."""
    out = tmp_path_factory.mktemp("short")
    train_lcpfn(replace(TINY, recipe=SHORT), out=out, prior="paper", progress=lambda *_: None)
    return out


@pytest.mark.parametrize("prior", ["paper", "wide"])
def test_batches_ask_only_for_what_lies_ahead(prior):
    task = CurveTask(TINY, prior, seed=0, device="cpu")
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for step in range(60):
        steps, values, n, at, targets = task.batch(generator, step)
        N = steps.shape[1]
        seen.add(N)
        assert values.shape == (16, N)
        assert at.shape == targets.shape == (16, 8)
        assert (n == N).all()
        assert ((at >= 1) & (at <= 100)).all()
        if N:
            assert (steps[:, :1] >= 1).all()
            assert (steps.diff(dim=1) > 0).all()
            ahead = (at > steps[:, -1:]) | (steps[:, -1:] == 100)
            assert ahead.all()
        if prior == "paper":
            assert torch.equal(steps[0], torch.arange(1.0, N + 1))
    assert len(seen) > 20


def test_targets_are_the_noisy_values_of_the_same_curve():
    """Shown and asked values at neighbouring steps differ by noise, not by curve."""
    task = CurveTask(replace(TINY, batch=256), "paper", seed=0, device="cpu")
    generator = torch.Generator().manual_seed(0)
    apart, strangers = [], []
    for step in range(20):
        steps, values, _, at, targets = task.batch(generator, step)
        if steps.shape[1] > 20:
            near = (at - steps[:, -1:]) < 3
            gap = (targets - values[:, -1:]).abs()
            apart.append(gap[near].median())
            strangers.append((targets - values[:, -1:].roll(1, 0)).abs()[near].median())
    assert torch.stack(apart).mean() < 0.3 * torch.stack(strangers).mean()


def test_observed_steps_are_dense_strided_or_irregular():
    rng, generator = random.Random(0), torch.Generator().manual_seed(0)
    dense = gaps_even = rows = 0
    for _ in range(40):
        steps = observed_steps(32, 60, rng, generator, torch.device("cpu"))
        if steps.shape[1] < 3:
            continue
        assert (steps.diff(dim=1) > 0).all()
        assert steps.min() >= 1
        assert steps.max() <= 100
        gaps = steps.diff(dim=1)
        dense += int((gaps == 1).all(dim=1).sum())
        gaps_even += int((gaps.max(1).values - gaps.min(1).values <= 1).sum())
        rows += 32
    assert 0.4 < dense / rows < 0.9
    assert 0.85 < gaps_even / rows < 1


def test_training_leaves_an_artefact_that_loads_and_has_learned(tmp_path):
    result = train_lcpfn(TINY, out=tmp_path, prior="paper", progress=lambda *_: None)
    artefact = Artefact.read(tmp_path / "artefact")
    assert artefact.family == "lcpfn"
    model = LCPFN(LCPFNConfig(**artefact.config))
    model.load_state_dict(load_file(artefact.files["model.safetensors"]))
    assert (model.borders.diff() > 0).all()
    report = artefact.training
    assert report["curves"] == 40 * 16
    assert report["steps"] == result.steps == 40
    assert report["prior"] == "paper"
    untrained = CurveTask(TINY, "paper", seed=0, device="cpu")
    with torch.no_grad():
        before = untrained.evaluate(untrained.module)
    assert set(report["held_out"]) == set(before)
    assert report["held_out"]["nll_paper_20"] < before["nll_paper_20"] - 0.1


def test_the_command_line_trains_and_resumes(tmp_path, capsys):
    options = ["--preset", "nano", "--prior", "wide", "--steps", "1", "--out", str(tmp_path)]
    main([*options, "--device", "cpu"])
    assert (tmp_path / "artefact/model.safetensors").stat().st_size < 16 * 2**20
    main([*options, "--device", "cpu"])
    assert Artefact.read(tmp_path / "artefact").training["steps"] == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "prior", "named"),
    [
        (TINY, "wide", "prior"),
        (replace(TINY, batch=8), "paper", "batch"),
        (replace(TINY, queries=4), "paper", "queries"),
        (replace(TINY, early=2.0), "paper", "early"),
        (replace(TINY, config=replace(TINY.config, mlp=16)), "paper", r"config\.mlp"),
    ],
)
def test_a_run_is_not_resumed_with_other_data_or_sizes(short_run, other, prior, named):
    with pytest.raises(FailedPrecondition, match=rf"\(settings\.{named}\)"):
        train_lcpfn(
            replace(other, recipe=SHORT), out=short_run, prior=prior, progress=lambda *_: None
        )
    assert Artefact.read(short_run / "artefact").training["prior"] == "paper"


def test_minutes_below_zero_are_refused(tmp_path):
    options = {"prior": "wide", "seed": 0, "minutes": -1.0}
    with pytest.raises(InvalidInput, match="max_minutes"):
        FAMILY.recipe.run("nano", options, tmp_path)


def test_impossible_presets_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="nano"):
        train_lcpfn("pico", out=tmp_path)
    compiled = replace(TINY, recipe=replace(TINY.recipe, compile=True))
    with pytest.raises(Unsupported, match="compile=False"):
        train_lcpfn(compiled, out=tmp_path)


def test_presets_fit_what_they_promise():
    sizes = {
        name: sum(p.numel() for p in LCPFN(preset.config).parameters())
        for name, preset in PRESETS.items()
    }
    assert sizes["nano"] * 4 < 16 * 2**20
    assert sizes["paper"] == pytest.approx(26.8e6, rel=0.02)
    paper = PRESETS["paper"]
    assert paper.recipe.steps * paper.batch == 10_000_000
