"""The pipeline in NumPy, for one table, is that which the network was trained with, in torch."""

from __future__ import annotations

import warnings
from itertools import product
from operator import itemgetter

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import roc_auc_score

from foretoken.models.tabpfn.columns import Table
from foretoken.models.tabpfn.encoding import CLASSES, GAIN, LENGTHS, SCORES, SMOOTHINGS
from foretoken.models.tabpfn.forest import Forest
from foretoken.models.tabpfn.ordered import WAYS, OrderedPipeline
from foretoken.models.tabpfn.pipelines import Options
from foretoken.models.tabpfn.prior import sample
from foretoken.models.tabpfn.regression import Kernel
from foretoken.models.tabpfn.views import View, see

MEMBERS = 8


def drawn(seed, N=90, M=30, F=9):
    generator = torch.Generator().manual_seed(seed)
    tables = sample(1, N + M, F, train_rows=N, generator=generator)
    x, y, categorical = tables.x[0].numpy(), tables.y[0].numpy(), tables.categorical[0].numpy()
    x = x.astype(np.float64)
    for j in np.flatnonzero(categorical):  # as a schema does: numbers of the categories known
        known = np.unique(x[:N, j][~np.isnan(x[:N, j])])
        at = np.searchsorted(known, x[:, j]).clip(0, len(known) - 1)
        x[:, j] = np.where(known[at] == x[:, j], at, np.nan)
    return x, y, categorical, N


def fitted(x, y, categorical, N):
    table = Table(x[:N], categorical, tuple(f"x{j}" for j in range(x.shape[1])))
    pipeline = OrderedPipeline()
    options = Options(members=MEMBERS)
    return pipeline, pipeline.fit(table, y[:N], int(y.max()) + 1, options)


@pytest.mark.parametrize("seed", range(12))
def test_numpy_sees_what_torch_has_trained_on(seed):
    x, y, categorical, N = drawn(seed)
    pipeline, arrays = fitted(x, y, categorical, N)
    train = pipeline.training_rows(arrays, x[:N], y[:N])
    test = pipeline.rows(arrays, x[N:])
    named = pipeline.labels(arrays, y[:N])
    C = int(y.max()) + 1
    grown = Forest.of(arrays)
    forest = np.zeros((1, len(x), CLASSES), np.float32)
    forest[0, :, :C] = np.concatenate([grown.left_out(x[:N]), grown.scores(x[N:])])
    for i in range(len(train)):
        view = View(*WAYS[i % len(WAYS)], (i + i // len(WAYS)) % C)
        made, labels = see(
            torch.from_numpy(x)[None],
            torch.from_numpy(y)[None],
            torch.from_numpy(categorical)[None],
            N,
            view,
            torch.from_numpy(forest),
        )
        E = int(arrays["kept"][i])
        wanted = made[0].numpy()
        np.testing.assert_array_equal(named[i], labels[0, :N].numpy())
        assert wanted.shape[1] - SCORES >= E
        assert not np.abs(wanted[:, SCORES + E :]).max(initial=0.0)
        got = np.concatenate([train[i], test[i]])[:, : SCORES + E]
        np.testing.assert_allclose(got, wanted[:, : SCORES + E], atol=2e-4)


def test_a_row_left_out_is_scored_as_if_it_had_never_been_there():
    x, y, categorical, N = drawn(3, N=40, M=5)
    pipeline, arrays = fitted(x, y, categorical, N)
    rows = pipeline.training_rows(arrays, x[:N], y[:N]).astype(np.float64)
    named, penalty = arrays["names"][0][y[:N]], float(arrays["penalty"][0])
    z, C = rows[0][:, SCORES:], int(y.max()) + 1
    hot = np.eye(C)[named]
    # An unpenalised intercept is what centring by all rows stands for.
    design = np.concatenate([z - z.mean(axis=0), np.ones((N, 1))], axis=1)
    ridge = N * penalty * np.diag([*np.ones(z.shape[1]), 0.0])
    for left in range(0, N, 7):
        others = np.delete(np.arange(N), left)
        gram = design[others].T @ design[others] + ridge
        weights = np.linalg.solve(gram, design[others].T @ (hot - hot.mean(axis=0))[others])
        np.testing.assert_allclose(rows[0][left, :C] / GAIN, design[left] @ weights, atol=1e-5)


def test_a_row_left_out_of_the_kernel_is_scored_by_the_others():
    """Against kernel ridge regression by scikit-learn, fitted anew without each row."""
    x, y, categorical, N = drawn(3, N=40, M=5)
    pipeline, arrays = fitted(x, y, categorical, N)
    kernel = Kernel.of(arrays, str(int(arrays["way"][0])))
    C = int(y.max()) + 1
    target = np.eye(C)[y[:N]] - np.eye(C)[y[:N]].mean(axis=0)
    apart = cdist(kernel.points, kernel.points, "sqeuclidean")
    centre = kernel.points - kernel.points.mean(axis=0)
    usual = 2 * (centre.astype(np.float64) ** 2).sum(axis=1).mean()

    def left_out(length, smoothing):
        """Each row's scores by a fit to all others, and their squared error."""
        near, out = np.exp(-apart / (length * usual)), np.empty_like(target)
        for left in range(N):
            others = np.delete(np.arange(N), left)
            ridge = KernelRidge(alpha=smoothing * N, kernel="precomputed")
            ridge.fit(near[np.ix_(others, others)], target[others])
            out[left] = ridge.predict(near[[left]][:, others])[0]
        return ((out - target) ** 2).sum(), out

    _, wanted = min((left_out(*grid) for grid in product(LENGTHS, SMOOTHINGS)), key=itemgetter(0))
    rows = pipeline.training_rows(arrays, x[:N], y[:N])[0]
    named = CLASSES + arrays["names"][0]
    np.testing.assert_allclose(rows[:, named] / GAIN, wanted, atol=1e-4)


def test_the_kernel_knows_interactions_that_no_line_knows():
    """Whether two coins agree: each coin says nothing, both say all."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (200, 6)).astype(np.float64)
    y = (x[:, 0] == x[:, 1]).astype(np.int64)
    pipeline, arrays = fitted(x, y, np.ones(6, bool), 150)
    rows = pipeline.rows(arrays, x[150:])[0]
    truth = arrays["names"][0][y[150:]] == 1
    linear, near = rows[:, 1] - rows[:, 0], rows[:, CLASSES + 1] - rows[:, CLASSES]
    assert roc_auc_score(truth, near) > 0.99
    assert roc_auc_score(truth, linear) < 0.8


def test_a_column_without_a_category_and_huge_values_have_finite_features():
    x, y, categorical, N = drawn(1)
    categorical = np.append(categorical, True)
    x = np.column_stack([x, np.full(len(x), np.nan)])  # as a part of a table may have it
    number = np.flatnonzero(~categorical)[0]
    x[N:, number] = [*([-1.7e308, 1.7e308] * 15)]
    pipeline, arrays = fitted(x, y, categorical, N)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(pipeline.training_rows(arrays, x[:N], y[:N])).all()
        assert np.isfinite(pipeline.rows(arrays, x[N:])).all()


def test_a_unit_means_nothing():
    x, y, categorical, N = drawn(5)
    _, arrays = fitted(x, y, categorical, N)
    pipeline, others = fitted(np.where(categorical, x, x * 1e-9), y, categorical, N)
    scaled = pipeline.rows(others, np.where(categorical, x, x * 1e-9)[N:])
    np.testing.assert_allclose(scaled, pipeline.rows(arrays, x[N:]), atol=2e-4)


def test_a_row_alone_is_the_row_in_company_however_many_were_learned():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (2048, 4)).astype(np.float64)
    x += rng.normal(0, 0.1, x.shape)
    y = (x[:, 0] > 0.5).astype(np.int64) ^ (x[:, 1] > 0.5)
    pipeline, arrays = fitted(x, y, np.zeros(4, bool), 1024)
    whole = pipeline.rows(arrays, x[1024:])
    for i in (0, 500, 1023):
        alone = pipeline.rows(arrays, x[1024 + i : 1025 + i])
        np.testing.assert_allclose(alone[:, 0], whole[:, i], atol=5e-5)


def test_the_order_of_columns_and_the_names_of_classes_say_nothing():
    x, y, categorical, N = drawn(5)
    pipeline, arrays = fitted(x, y, categorical, N)
    train, test = pipeline.training_rows(arrays, x[:N], y[:N]), pipeline.rows(arrays, x[N:])
    turn = np.random.default_rng(0).permutation(x.shape[1])
    _, others = fitted(x[:, turn], y, categorical[turn], N)
    again = pipeline.training_rows(others, x[:N, turn], y[:N])
    assert np.abs(train.sum(axis=2) - again.sum(axis=2)).max() < 1e-3
    np.testing.assert_allclose(
        np.sort(test), np.sort(pipeline.rows(others, x[N:, turn])), atol=1e-4
    )
