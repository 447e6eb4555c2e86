"""Forests: NumPy grows what torch trains with, honest about training rows, whatever the order."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from foretoken.models.tabpfn.encoding import CLASSES, TREES, depth
from foretoken.models.tabpfn.forest import Forest, forest_of, grow, own_order
from foretoken.models.tabpfn.forests import forest_scores
from foretoken.models.tabpfn.prior import sample


def table(seed, N, M, F):
    drawn = sample(1, N + M, F, train_rows=N, generator=torch.Generator().manual_seed(seed))
    return drawn.x, drawn.categorical, drawn.y


def grown(x, categorical, y, place=None, seed=0):
    place = np.arange(y.max() + 1) if place is None else place
    return forest_of(x, categorical, y, place, np.random.default_rng(seed))


@pytest.mark.parametrize(("N", "M", "F"), [(2, 3, 1), (33, 20, 3), (130, 30, 12), (1000, 60, 20)])
def test_numpy_grows_what_torch_grows(N, M, F):
    x, categorical, y = table(N, N, M, F)
    C = int(y.max()) + 1
    first, second = np.random.default_rng(1), np.random.default_rng(1)
    forest = grow(
        x[0, :N].double().numpy(),
        categorical[0].numpy(),
        y[0, :N].numpy(),
        C,
        lambda *shape: first.random(shape, np.float32),
    )
    made = forest_scores(
        x, categorical, y[:, :N], CLASSES,
        lambda *shape: torch.from_numpy(second.random(shape[1:], np.float32))[None],
    )[0]  # fmt: skip
    rows = x[0].double().numpy()
    np.testing.assert_allclose(made[:N, :C], forest.left_out(rows[:N]), atol=1e-6)
    np.testing.assert_allclose(made[N:, :C], forest.scores(rows[N:]), atol=1e-6)
    assert not made[:, C:].any()


PAIR = table(1, 40, 9, 5), table(2, 40, 9, 5)


def test_tables_of_a_batch_are_strangers_however_it_is_cut(monkeypatch):
    x, categorical, y = (torch.cat(each) for each in zip(*PAIR, strict=True))
    drawn = {}

    def chance(*shape):  # the same for all tables, and for each block
        if shape[1:] not in drawn:
            drawn[shape[1:]] = torch.rand(shape[1:], generator=torch.Generator().manual_seed(0))
        return drawn[shape[1:]].expand(shape)

    both = forest_scores(x, categorical, y[:, :40], CLASSES, chance, 8)
    one = forest_scores(x[1:], categorical[1:], y[1:, :40], CLASSES, chance, 8)
    assert torch.equal(both[1:], one)
    monkeypatch.setattr("foretoken.models.tabpfn.forests.AT_ONCE", 1)
    assert torch.equal(forest_scores(x, categorical, y[:, :40], CLASSES, chance, 8), both)


def test_trees_that_have_not_seen_two_rows_do_not_know_their_labels():
    rng = np.random.default_rng(0)
    x, flat = rng.standard_normal((80, 4)), np.zeros(4, bool)
    y = (x[:, 0] > 0).astype(np.int64)
    i, j = np.flatnonzero(y == 0)[0], np.flatnonzero(y == 1)[0]
    swapped = y.copy()
    swapped[[i, j]] = y[[j, i]]  # the classes stay as frequent as they are

    def uniform():
        draws = np.random.default_rng(3)
        return lambda *shape: draws.random(shape, np.float32)

    one, other = grow(x, flat, y, 2, uniform()), grow(x, flat, swapped, 2, uniform())
    np.testing.assert_array_equal(one.unseen, other.unseen)
    blind = (one.unseen[:, i] & one.unseen[:, j]).astype(bool)
    assert 0.05 < blind.mean() < 0.3  # e^-2
    assert (one.leaf[~blind] != other.leaf[~blind]).any()
    for name, part in vars(one).items():
        np.testing.assert_array_equal(part[blind], vars(other)[name][blind])


def test_a_training_row_is_scored_by_trees_that_have_not_seen_it():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((200, 3)), rng.integers(0, 2, 200)  # nothing can be known
    forest = grown(x, np.zeros(3, bool), y)
    assert 0.6 < 1 - forest.unseen.mean() < 0.66  # of a table in a bootstrap sample
    seen, left = forest.scores(x)[:, 1], forest.left_out(x)[:, 1]
    assert roc_auc_score(y, seen) > 0.9
    assert 0.35 < roc_auc_score(y, left) < 0.6


@pytest.mark.parametrize("kind", ["numbers", "categories"])
def test_it_knows_about_as_much_as_the_forest_of_scikit_learn(kind):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((900, 6))
    y = ((x[:, 0] > 0) ^ (x[:, 1] > 0.5)).astype(np.int64)
    if kind == "categories":
        x = np.floor(np.clip(2 * x + 5, 0, 9))
        y = np.isin(x[:, 0], [1, 4, 6]) ^ np.isin(x[:, 1], [3, 5])
        y = y.astype(np.int64)
    forest = grown(x[:500], np.full(6, kind == "categories"), y[:500])
    theirs = RandomForestClassifier(TREES, random_state=0).fit(x[:500], y[:500])
    known = roc_auc_score(y[500:], theirs.predict_proba(x[500:])[:, 1])
    assert roc_auc_score(y[500:], forest.scores(x[500:])[:, 1]) > max(0.9, known - 0.02)


def test_neither_the_order_of_columns_and_rows_nor_names_of_classes_say_anything():
    x, categorical, y = (each[0].numpy() for each in table(5, 120, 30, 9))
    x, y = x.astype(np.float64), y % 3
    place = np.array([2, 0, 1])  # by frequency, say
    forest = grown(x[:120], categorical, y[:120], place)
    rng = np.random.default_rng(0)
    columns, rows, names = rng.permutation(9), rng.permutation(120), np.array([1, 2, 0])
    other = grown(
        x[:120][rows][:, columns], categorical[columns], names[y[:120][rows]], place[[2, 0, 1]]
    )
    made = other.scores(x[120:, columns])[:, names]
    np.testing.assert_allclose(made, forest.scores(x[120:]), atol=1e-6)
    left = other.left_out(x[:120][rows][:, columns])[:, names]
    np.testing.assert_allclose(left, forest.left_out(x[:120])[rows], atol=1e-6)


@pytest.mark.parametrize("levels", [2, 3, 1000])
def test_columns_that_tell_as_much_are_told_apart_by_their_rows(levels):
    """Columns alike in each class, as of coins or of numbers that all separate the classes."""
    rng = np.random.default_rng(levels)
    y = np.repeat([0, 0, 1], 20)
    x = np.column_stack([rng.permuted(np.arange(60).reshape(3, 20) % levels, axis=1).ravel()
                         for _ in range(7)]).astype(np.float64)  # fmt: skip
    columns, rows = own_order(x, y)
    for seed in range(5):
        turn, mixed = rng.permutation(7), rng.permutation(60)
        again, others = own_order(x[mixed][:, turn], y[mixed])
        np.testing.assert_array_equal(
            x[mixed][:, turn][others][:, again], x[rows][:, columns], f"{seed}"
        )
        np.testing.assert_array_equal(y[mixed][others], y[rows])


@pytest.mark.parametrize(("scale", "base"), [(1.0, 1.7e12), (1e-50, 0.0), (1e30, 0.0)])
def test_units_and_epochs_say_nothing(scale, base):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 60_000, (200, 2)).astype(np.float64)  # milliseconds of a minute
    y = (x[:, 0] // 5000 % 2).astype(np.int64)
    forest = grown(x[:150], np.zeros(2, bool), y[:150])
    other = grown(x[:150] * scale + base, np.zeros(2, bool), y[:150])
    np.testing.assert_array_equal(other.scores(x[150:] * scale + base), forest.scores(x[150:]))


def test_a_value_that_was_learned_may_be_rounded():
    rng = np.random.default_rng(3)
    x = rng.integers(0, 50, (300, 4)) / 10  # ticks: each stands in several rows
    y = (x[:, 0] + x[:, 1] > 5).astype(np.int64)
    forest = grown(x, np.zeros(4, bool), y)
    for rounded in (x.astype(np.float32), x + 1e-9, x - 1e-9, x + 0.04):
        np.testing.assert_array_equal(forest.scores(rounded.astype(np.float64)), forest.scores(x))


def test_neighbours_among_floats_are_told_apart():
    x = np.repeat([1.0, np.nextafter(1.0, 2.0)], 50)[:, None]
    y = np.repeat([0, 1], 50)
    scores = grown(x, np.zeros(1, bool), y).scores(x)
    assert (scores[:50, 1] < -0.4).all()
    assert (scores[50:, 1] > 0.4).all()


def test_a_row_alone_is_the_row_in_company():
    x, categorical, y = (each[0].numpy() for each in table(6, 90, 3000, 7))
    forest = grown(x[:90].astype(np.float64), categorical, y[:90])
    rows = x[90:].astype(np.float64)
    whole = forest.scores(rows)
    for i in (0, 1500, 2999):
        np.testing.assert_array_equal(forest.scores(rows[i : i + 1])[0], whole[i])


def test_missing_huge_and_equal_values_are_taken():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((60, 4))
    x[:, 1] = 1.7e308 * np.sign(x[:, 1])
    x[rng.random((60, 4)) < 0.3] = np.nan
    x[:, 3] = 7.0
    y = rng.integers(0, 3, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forest = grown(x, np.array([False, False, True, False]), y)
        made = np.concatenate([forest.left_out(x), forest.scores(np.full((1, 4), np.nan))])
    assert np.isfinite(made).all()
    np.testing.assert_allclose(made.sum(axis=1), 0, atol=1e-5)


def test_a_forest_comes_back_from_its_arrays():
    x, categorical, y = (each[0].numpy() for each in table(7, 50, 10, 5))
    forest = grown(x[:50].astype(np.float64), categorical, y[:50])
    assert forest.column.shape == (TREES, 2 ** depth(50) - 1)
    again = Forest.of({name: array.copy() for name, array in forest.arrays().items()})
    rows = x[50:].astype(np.float64)
    np.testing.assert_array_equal(again.scores(rows), forest.scores(rows))


def test_few_rows_need_few_levels():
    assert [depth(rows) for rows in (1, 2, 3, 100, 128, 129, 1024)] == [1, 1, 2, 7, 7, 8, 8]
