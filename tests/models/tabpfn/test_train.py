"""Training TabPFN: batches are honest, the loss falls, the artefact loads, a run resumes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from foretoken.errors import FailedPrecondition, InvalidInput
from foretoken.models.artefact import Artefact
from foretoken.models.tabpfn import FAMILY
from foretoken.models.tabpfn.model import TabPFNConfig
from foretoken.models.tabpfn.train import PRESETS, TableTask, main, train_tabpfn
from foretoken.models.tabpfn.views import COLUMNS, SCORES
from foretoken.models.training import Recipe

TINY = replace(
    PRESETS["nano"],
    config=TabPFNConfig(32, 2, 2, 64, features=SCORES + COLUMNS, shared=1),
    recipe=Recipe(steps=30, lr=3e-3, precision="bf16", log_every=5),
    tokens=1024,
    rows=(40, 120),
    columns=(4, 12),
    growth=20,
)
SHORT = replace(TINY, recipe=replace(TINY.recipe, steps=2))


def quiet(*_):
    pass


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("short")
    train_tabpfn(SHORT, out=out, progress=quiet)
    return out


def test_batches_hold_labelled_rows_first_and_no_class_that_was_not_shown():
    task = TableTask(TINY, 0, "cpu")
    generator = torch.Generator().manual_seed(0)
    shapes = set()
    for step in range(40):
        x, y, absent, N = task.batch(generator, step)
        n, (B, R, _) = int(N), x.shape
        shapes.add((B, n))
        assert 24 <= n <= 120
        assert R - n >= 32
        assert B * R <= 1024 or B == 1
        assert x.isfinite().all()
        assert x.shape[2] <= SCORES + COLUMNS
        assert absent.shape == (B, 10)
        for table in range(B):
            shown = set(y[table, :n].tolist())
            assert len(shown) >= 2
            assert set(y[table, n:].tolist()) <= shown
            assert not absent[table, list(shown)].any()
    assert len(shapes) > 15


def test_tables_grow_with_the_run():
    task = TableTask(TINY, 0, "cpu")
    early, late = (
        max(int(task.batch(torch.Generator().manual_seed(s), step)[3]) for s in range(30))
        for step in (0, 1000)
    )
    assert early <= 40
    assert late > 100


def test_labels_of_test_rows_change_nothing_that_the_network_sees():
    task = TableTask(TINY, 0, "cpu")
    x, y, absent, N = task.batch(torch.Generator().manual_seed(3), 10)
    module = task.module.eval()
    with torch.inference_mode():
        one = module(x, y, int(N))
        other = y.clone()
        other[:, int(N) :] = 0
        two = module(x, other, int(N))
    assert torch.equal(one, two)
    assert task.loss(lambda *_: one, (x, y, absent, N)).isfinite()


def test_the_loss_falls(tmp_path):
    rows = []
    result = train_tabpfn(TINY, out=tmp_path, progress=lambda _, row: rows.append(row))
    assert result.finished
    assert result.steps == 30
    untrained = TableTask(TINY, 0, "cpu")
    with torch.no_grad():
        before = untrained.evaluate(untrained.module)
    assert result.figures["nll"] < before["nll"] - 0.1


def test_a_run_leaves_an_artefact_that_the_family_loads(short_run):
    artefact = Artefact.read(short_run / "artefact")
    assert artefact.family == "tabpfn"
    assert artefact.config["pipeline"] == "ordered"
    assert artefact.training["preset"] == "custom"
    module = FAMILY.module(artefact.config)
    weights = load_file(artefact.files["model.safetensors"])
    assert {w.dtype for w in weights.values()} == {torch.bfloat16}
    assert module.load_state_dict(weights).missing_keys == []


def test_a_run_resumes_where_it_was(tmp_path):
    half = replace(TINY, recipe=replace(TINY.recipe, steps=4))
    whole = train_tabpfn(half, out=tmp_path / "whole", progress=quiet)
    again = train_tabpfn(half, out=tmp_path / "whole", progress=quiet)
    assert again.steps == whole.steps == 4
    for name, value in whole.parameters.items():
        assert torch.equal(again.parameters[name], value)


def test_what_cannot_be_is_refused(short_run, tmp_path):
    with pytest.raises(InvalidInput, match="no preset 'huge'; choose one of nano, base, paper"):
        train_tabpfn("huge", out=tmp_path)
    with pytest.raises(FailedPrecondition):
        train_tabpfn(replace(SHORT, tokens=2048), out=short_run, progress=quiet)
    with pytest.raises(InvalidInput, match="impossible"):
        TabPFNConfig(30, 1, 4, 8)


def test_the_command_line_trains(tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    monkeypatch.setitem(PRESETS, "nano", SHORT)
    monkeypatch.setattr("sys.argv", ["train", "--out", str(out), "--steps", "1", "--threads", "1"])
    main()
    assert Artefact.read(out / "artefact").training["steps"] == 1
    assert "Traceback" not in capsys.readouterr().err
