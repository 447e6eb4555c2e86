"""Series and sequences of one's own: read from CSV, learned from, tested on what was held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from foretoken.errors import InvalidInput, NotFound
from foretoken.exporters.modules import load_module
from foretoken.models.aaren import FAMILY
from foretoken.models.aaren.own import _split, read, run, sequences_of, series_of
from foretoken.models.aaren.sequences import SequenceTask, classifier
from foretoken.models.aaren.series import SeriesTask
from foretoken.models.aaren.train import PRESETS
from foretoken.models.artefact import Artefact
from foretoken.models.recipes import parse
from foretoken.models.training import Recipe
from tests.models.aaren.conftest import FORECASTER

TINY = replace(
    PRESETS["nano"],
    config=FORECASTER,
    recipe=Recipe(steps=120, lr=1e-2, log_every=20),
    batch=8,
)


def written(path, header, rows):
    lines = [",".join(map(str, row)) for row in (header, *rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def waves(n=600, period=12):
    t = np.arange(n)
    rng = np.random.default_rng(0)
    return 100 + 10 * np.sin(2 * np.pi * t / period) + rng.standard_normal(n)


def options(**given):
    return parse(FAMILY.recipe.options, {k: str(v) for k, v in given.items()})


def test_a_forecaster_is_learned_from_the_beginning_and_tested_on_the_end(tmp_path):
    path = written(tmp_path / "own.csv", ("at", "y"), enumerate(waves()))
    run(TINY, options(csv=path, target="y", season=12), tmp_path / "run", progress=_quiet)
    artefact = Artefact.read(tmp_path / "run" / "artefact")
    figures = artefact.training["held_out"]
    assert figures["wql"] < figures["mae"] < figures["mae_seasonal"] < 0.05
    assert artefact.training["settings"]["learned"] == 480
    load_module(artefact, FAMILY)


def test_the_end_is_never_learned_from():
    y = np.where(np.arange(600) < 480, 1.0, np.nan)  # what is seen of it would show
    task = SeriesTask(TINY, [y, y[:480].repeat(2)[:600] * 2])
    generator = torch.Generator().manual_seed(0)
    for step in range(30):
        piece, at = task.batch(generator, step)
        assert piece.isfinite().all()
        assert at.max() < piece.shape[1] - FORECASTER.horizon


def test_all_forecasts_within_the_end_are_tested_and_no_other():
    y = waves(2000)
    task = SeriesTask(replace(TINY, config=replace(FORECASTER, horizon=3)), [y], season=1, every=1)
    figures = task.evaluate(task.module)
    truth = np.stack([y[1600 + h : 1600 + h + 398] for h in range(3)])
    naive = y[1599:1997]
    assert figures["mae_seasonal"] == pytest.approx(
        np.abs(truth - naive).sum() / np.abs(truth).sum(), rel=1e-9
    )


def test_a_series_too_short_is_refused():
    with pytest.raises(InvalidInput, match="series 1 has 20 values"):
        SeriesTask(TINY, [waves(), waves(20)])


def turning(rng, n):
    """Sequences that turn left or right, which no average of values tells."""
    values, labels = [], []
    for i in range(n):
        t = np.arange(rng.integers(12, 20))
        side = 1 if i % 2 else -1
        angle = rng.uniform(0, 2 * np.pi) + side * 0.7 * t
        values.append(np.stack([np.cos(angle), 50 + 10 * np.sin(angle)], axis=1))
        labels.append("left" if side > 0 else "right")
    return values, labels


def test_a_classifier_learns_from_a_long_table(tmp_path):
    values, labels = turning(np.random.default_rng(0), 60)
    rows = [
        (f"s{i}", *row, label)
        for i, (x, label) in enumerate(zip(values, labels, strict=True))
        for row in x
    ]
    path = written(tmp_path / "own.csv", ("id", "a", "b", "way"), rows)
    given = options(csv=path, target="way", series="id", head="classifier")
    run(TINY, given, tmp_path / "run", progress=_quiet)
    artefact = Artefact.read(tmp_path / "run" / "artefact")
    assert artefact.training["held_out"]["accuracy"] > 0.9
    assert list(artefact.config["classes"]) == ["left", "right"]
    assert artefact.config["mean"][1] == pytest.approx(50, abs=1)
    load_module(artefact, FAMILY)


def test_a_share_of_each_class_is_held_out():
    values, labels = turning(np.random.default_rng(0), 40)
    learned, held_out = _split((values, labels), seed=0)
    assert len(learned[0]) + len(held_out[0]) == 40
    assert sorted(held_out[1]) == ["left"] * 4 + ["right"] * 4
    ids = {id(x) for x in learned[0]} & {id(x) for x in held_out[0]}
    assert not ids
    with pytest.raises(InvalidInput, match="one sequence"):
        _split((values[:3], ["a", "a", "b"]), seed=0)


def test_a_class_that_cannot_be_learned_is_refused():
    values, labels = turning(np.random.default_rng(0), 8)
    preset = replace(TINY, config=classifier(FORECASTER, (values, labels)))
    with pytest.raises(InvalidInput, match="'up'"):
        SequenceTask(preset, (values, labels), (values[:1], ["up"]))


def test_columns_are_read(tmp_path):
    path = written(tmp_path / "own.csv", ("id", "y", "c"), [("a", 1, 5), ("b", 2, 6), ("a", 3, 5)])
    columns = read(path)
    assert [y.tolist() for y in series_of(columns, "y")] == [[1, 2, 3]]
    assert [y.tolist() for y in series_of(columns, "y", "id")] == [[1, 3], [2]]
    values, labels = sequences_of(columns, "c", "id")
    assert [x.tolist() for x in values] == [[[1], [3]], [[2]]]
    assert labels == ["5", "6"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("y\n", "and rows"),
        ("y,y\n1,2\n", "none twice"),
        ("y,z\n1,2\n3\n", "line 3: 1 values, not 2"),
        ("z\n1\n", "no column 'y'; there are z"),
        ("y\n1\n\nx\n", "line 3: 0 values"),
        ("y\n1\nmany\n", "line 3: 'many' is no finite number"),
        ("y\n1\nnan\n", "line 3: 'nan'"),
    ],
)
def test_files_that_cannot_be_learned_from_are_refused(tmp_path, text, said):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=said):
        series_of(read(path), "y")


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFound, match=r"no file .*own\.csv"):
        read(tmp_path / "own.csv")


@pytest.mark.parametrize(
    ("header", "rows", "series", "said"),
    [
        (("id", "y", "c"), [("a", 1, "k")], "", "needs series=COLUMN"),
        (("id", "c"), [("a", "k")], "id", "no column beside"),
        (("id", "y", "c"), [("a", 1, "k"), ("a", 2, "l")], "id", "several labels"),
    ],
)
def test_tables_without_sequences_are_refused(tmp_path, header, rows, series, said):
    columns = read(written(tmp_path / "own.csv", header, rows))
    with pytest.raises(InvalidInput, match=said):
        sequences_of(columns, "c", series)


def _quiet(*_):
    """No progress."""
