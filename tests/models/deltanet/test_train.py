"""Training DeltaNet: lessons rise, the artefact loads, the loss falls, runs are resumed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from foretoken.errors import FailedPrecondition, InvalidInput
from foretoken.models.artefact import Artefact
from foretoken.models.deltanet import FAMILY
from foretoken.models.deltanet.model import DeltaNetConfig, DeltaNetModel
from foretoken.models.deltanet.recall import NONE
from foretoken.models.deltanet.train import (
    PRESETS,
    Lessons,
    Preset,
    RecallTask,
    accuracy,
    main,
    train_deltanet,
)
from foretoken.models.training import Recipe

LESSONS = Lessons(vocab=32, pairs=8, length=64, tokens=512, start=5, rise=20)
TINY = Preset(
    DeltaNetConfig(vocab=32, width=16, layers=1, heads=1, mlp=16),
    Recipe(steps=40, lr=1e-2, log_every=10),
    LESSONS,
)


def quiet(*_):
    return None


def test_pairs_are_few_at_first_and_sequences_fit():
    task = RecallTask(torch.nn.Identity(), {}, LESSONS, seed=0)
    generator = torch.Generator().manual_seed(0)
    pairs, lengths = {}, set()
    for step in range(60):
        tokens, where, values = task.batch(generator, step)
        (P,) = set(where.sum(1).tolist())
        B, T = tokens.shape
        assert tokens.shape == where.shape == (512 // T, T)
        assert T % 32 == 0
        assert 3 * P <= T <= 64
        assert values.shape == (B * P,)
        assert ((values >= 16) & (values < 32)).all()
        assert LESSONS.most(step) >= P
        pairs[step] = P
        lengths.add(T)
    assert {pairs[step] for step in range(5)} == {4}
    assert {pairs[step] for step in range(25, 60)} == {4, 5, 6, 7, 8}
    assert lengths == {32, 64}
    assert [LESSONS.most(step) for step in (0, 5, 15, 25, 1000)] == [4, 4, 6, 8, 8]
    assert LESSONS.measured() == [4, 8]
    assert Lessons(pairs=63).measured() == [4, 8, 16, 32]


def test_accuracy_counts_what_was_asked_for():
    answers = torch.tensor([[NONE, 2, NONE, 0], [1, NONE, NONE, NONE]])

    def says(tokens, where):
        return torch.nn.functional.one_hot(tokens[where], 3).float()

    assert accuracy(says, torch.tensor([[0, 2, 0, 0], [1, 1, 1, 1]]), answers) == 1
    assert accuracy(says, torch.tensor([[0, 2, 0, 1], [0, 1, 1, 1]]), answers) == pytest.approx(
        1 / 3
    )


@pytest.mark.parametrize("gated", [False, True])
def test_training_leaves_an_artefact_that_loads_and_has_learned(tmp_path, gated):
    result = train_deltanet(TINY, out=tmp_path, gated=gated, progress=quiet)
    artefact = Artefact.read(tmp_path / "artefact")
    assert artefact.family == "deltanet"
    assert artefact.config["gated"] is gated
    model = FAMILY.module(artefact.config)
    model.load_state_dict(load_file(artefact.files["model.safetensors"]))
    report = artefact.training
    assert report["steps"] == result.steps == 40
    assert report["tokens"] == 40 * 512
    assert set(report["held_out"]) == {"accuracy_4", "accuracy_8"}
    task = RecallTask(model, {}, LESSONS, seed=0)
    batch = task.batch(torch.Generator().manual_seed(5), 0)
    torch.manual_seed(0)
    untrained = DeltaNetModel(replace(TINY.config, gated=gated))
    with torch.no_grad():
        after, before = task.loss(model, batch), task.loss(untrained, batch)
    assert after < before - 0.3  # at least that answers are among the values, of 16


def test_a_run_is_resumed_but_not_with_other_lessons(tmp_path):
    short = replace(TINY, recipe=replace(TINY.recipe, steps=2))
    train_deltanet(short, out=tmp_path, progress=quiet)
    assert train_deltanet(short, out=tmp_path, progress=quiet).steps == 2
    for other, named in (
        (replace(short, lessons=replace(LESSONS, pairs=6)), r"settings\.pairs"),
        (replace(short, config=replace(short.config, mlp=8)), r"settings\.shape\.mlp"),
        (replace(short, config=replace(short.config, gated=True)), r"settings\.shape\.gated"),
    ):
        with pytest.raises(FailedPrecondition, match=named):
            train_deltanet(other, out=tmp_path, progress=quiet)


@pytest.mark.parametrize(
    "wrong",
    [{"pairs": 3}, {"vocab": 16}, {"length": 23}, {"tokens": 63}, {"rise": 0}, {"start": -1}],
)
def test_lessons_that_cannot_be_drawn_are_refused(wrong):
    with pytest.raises(InvalidInput, match="cannot be drawn"):
        replace(LESSONS, **wrong)


def test_impossible_presets_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="nano, small, base"):
        train_deltanet("pico", out=tmp_path)
    with pytest.raises(InvalidInput, match="32 tokens, the model 64"):
        train_deltanet(replace(TINY, config=replace(TINY.config, vocab=64)), out=tmp_path)


def test_the_command_line_trains_and_resumes(tmp_path):
    options = ["--preset", "nano", "--steps", "1", "--gated", "--out", str(tmp_path)]
    for _ in range(2):
        main([*options, "--device", "cpu"])
        artefact = Artefact.read(tmp_path / "artefact")
        assert artefact.training["steps"] == 1
        assert artefact.config["gated"] is True


def test_presets_are_those_that_the_family_names_and_small_fits_its_promise():
    assert set(PRESETS) == set(FAMILY.recipe.presets)
    small = PRESETS["small"].config
    assert sum(p.numel() for p in DeltaNetModel(small).parameters()) * 4 < 1.5 * 2**20
