"""Training: the loss falls, both arms run their chains, runs are resumed bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from foretoken.errors import FailedPrecondition, InvalidInput
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.cola import RECIPE, train
from foretoken.models.cola.model import ColaConfig, ColaModel
from foretoken.models.cola.presets import PRESETS, Part, Preset
from foretoken.models.cola.tasks import NONE, Addition, Hops, Modular
from foretoken.models.cola.train import ProblemTask, initialised, main, right, train_cola
from foretoken.models.cola.vocabulary import EOS, VOCABULARY
from foretoken.models.depth.chains import expect_chain
from foretoken.models.training import Recipe

TINY = Preset(
    replace(
        PRESETS["tiny"].config,
        shape=replace(PRESETS["tiny"].config.shape, width=16, layers=3, mlp=32, head_width=4),
    ),
    Recipe(steps=60, lr=1e-2, log_every=20),
    (
        Part(Addition((2, 2), (1, 2)), 32),
        Part(Modular((1, 1), (1, 2)), 16),
        Part(Hops((1, 2), (2, 4), questions=2), 8),
    ),
)


def quiet(*_):
    return None


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(train, "MEASURED", 16)


def losses(folder):
    rows = (folder / "log.csv").read_text().splitlines()
    column = rows[0].split(",").index("loss")
    return [float(row.split(",")[column]) for row in rows[1:]]


@pytest.mark.parametrize("arm", ["plain", "loops"])
def test_the_loss_falls_and_the_artefact_says_how(tmp_path, arm):
    result = train_cola(TINY, out=tmp_path, arm=arm, progress=quiet)
    first, *_, last = losses(tmp_path)
    assert last < 0.8 * first
    artefact = Artefact.read(tmp_path / "artefact")
    assert artefact.family == "cola"
    assert artefact.training["settings"]["arm"] == arm
    assert artefact.training["stored"] == "float32"
    assert artefact.config["generation"] == {"ends": [EOS], "sample": False}
    assert artefact.training["held_out"] == result.figures
    assert {"accuracy", "add_2x2", "mod97_1", "hop_1", "hop_2"} == set(result.figures)
    loaded = ColaModel(ColaConfig.of(artefact.config))
    loaded.load_state_dict(load_file(tmp_path / "artefact" / WEIGHTS))
    assert bytes(loaded.tokenizer.json.tolist()) == VOCABULARY.tokenizer_json()
    task = ProblemTask(TINY, arm, 0)
    assert task.evaluate(loaded.eval()) == result.figures


def test_large_weights_are_stored_in_halves_and_measured_so(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "LARGEST", 1000)
    train_cola(TINY, out=tmp_path, steps=5, progress=quiet)
    artefact = Artefact.read(tmp_path / "artefact")
    assert artefact.training["stored"] == "bfloat16"
    kept = load_file(tmp_path / "artefact" / WEIGHTS)
    assert kept["blocks.0.mlp.up.weight"].dtype == torch.bfloat16
    assert kept["tokenizer.json"].dtype == torch.uint8


def test_bundled_sizes_fit_what_is_stored():
    for name, preset in PRESETS.items():
        parameters = sum(p.numel() for p in ColaModel(preset.config).parameters())
        size = 4 * parameters
        assert min(size, size // 2 if size > train.LARGEST else size) <= 16 << 20, name
    assert 7e6 < parameters < 12e6
    assert len(VOCABULARY) == preset.config.shape.vocab


@pytest.mark.parametrize("arm", ["plain", "loops"])
def test_a_resumed_run_goes_on_bit_for_bit(tmp_path, arm):
    preset = replace(TINY, recipe=replace(TINY.recipe, steps=30, log_every=5))
    whole = train_cola(preset, out=tmp_path / "whole", arm=arm, progress=quiet)

    def interrupt(done, row):
        if row["step"] == 15:
            import signal

            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_cola(preset, out=tmp_path / "cut", arm=arm, progress=interrupt)
    assert json.loads((tmp_path / "cut" / "checkpoint.json").read_text())["steps"] == 15
    assert not (tmp_path / "cut" / "artefact").exists()
    resumed = train_cola(preset, out=tmp_path / "cut", arm=arm, progress=quiet)
    assert resumed.steps == whole.steps == 30
    for name, value in whole.parameters.items():
        assert torch.equal(value, resumed.parameters[name]), name
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    other = "plain" if arm == "loops" else "loops"
    with pytest.raises(FailedPrecondition, match="arm"):
        train_cola(preset, out=tmp_path / "cut", arm=other, progress=quiet)


def test_arms_differ_in_their_chains_alone():
    plain, loops = (ProblemTask(TINY, arm, 3) for arm in ("plain", "loops"))
    for step in range(200):
        assert plain.chain(step) == (0, 1, 2)
        expect_chain(loops.chain(step), 3, 4)
    whole = sum(loops.chain(step) == (0, 1, 2) for step in range(200))
    assert 80 < whole < 150
    first, second = (t.batch(torch.Generator().manual_seed(0), 1)[:2] for t in (plain, loops))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_answers_alone_are_learned_from_and_none_that_is_held_out():
    task = ProblemTask(TINY, "plain", 0)
    ids, targets, chain = task.batch(torch.Generator().manual_seed(0), 0)
    assert ids.shape == targets.shape == (task.packed.tokens,)
    assert chain.tolist() == [0, 1, 2]
    asked = targets != NONE
    # Every answer ends, and of those here only one in sixteen is missing.
    assert 50 < int((targets == EOS).sum()) <= 32 + 16 + 8 * 2
    assert asked.float().mean() < 0.5
    module = initialised(ColaModel(TINY.config), 0)
    wanted = torch.nn.functional.cross_entropy(
        module(ids, None, task.packed)[asked], targets[asked]
    )
    torch.testing.assert_close(task.loss(module, (ids, targets, chain)), wanted)


def test_right_is_what_greedy_decoding_says():
    task = ProblemTask(TINY, "plain", 0)
    problems = task.held_out["add_2x2"]
    targets = problems.targets(held=True)

    def knowing(ids):
        """Says the right tokens, but for the last problem's end."""
        said = torch.where(targets == NONE, 7, targets)
        last = said[-1] == EOS
        said[-1] = torch.where(last, 5, said[-1])
        return torch.nn.functional.one_hot(said, len(VOCABULARY)).float()

    assert right(knowing, problems).tolist() == [1.0] * 15 + [0.0]


def test_unknown_presets_and_arms_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="no preset 'huge'"):
        train_cola("huge", out=tmp_path)
    with pytest.raises(InvalidInput, match="no arm 'other'"):
        train_cola(TINY, out=tmp_path, arm="other")


def test_the_recipe_and_the_command_line_train(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    options = {option.name: option.default for option in RECIPE.options}
    assert set(RECIPE.presets) == set(PRESETS)
    RECIPE.run("tiny", {**options, "minutes": 0.02, "arm": "loops"}, tmp_path / "a", quiet)
    said = Artefact.read(tmp_path / "a" / "artefact").training
    assert (said["settings"]["arm"], said["recipe"]["max_minutes"]) == ("loops", 0.02)
    main(["--preset", "tiny", "--steps", "2", "--out", str(tmp_path / "b"), "--seed", "4"])
    assert "\nhop_2 " in capsys.readouterr().out
    said = Artefact.read(tmp_path / "b" / "artefact").training
    assert (said["steps"], said["seed"]) == (2, 4)
    assert said["recipe"]["lr"] == TINY.recipe.lr


@pytest.mark.slow
def test_compiled_blocks_learn_the_same(tmp_path):
    preset = replace(TINY, recipe=replace(TINY.recipe, steps=10))
    for arm in ("plain", "loops"):
        eager = train_cola(preset, out=tmp_path / f"{arm}e", arm=arm, progress=quiet)
        fast = train_cola(preset, out=tmp_path / f"{arm}c", arm=arm, compiled=True, progress=quiet)
        for name, value in eager.parameters.items():
            torch.testing.assert_close(fast.parameters[name], value, rtol=1e-2, atol=1e-3)
