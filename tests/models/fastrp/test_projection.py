"""The random projection: as sparse as said, unbiased, and the same for ever."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foretoken.models.fastrp.projection import projected

N, D = 10_000, 64


def dense(kind, seed=0, columns=range(D), scale=None, rows=N):
    made = projected(kind, seed, columns, D, np.ones(rows) if scale is None else scale)
    return made if isinstance(made, np.ndarray) else made.toarray()


def test_a_sparse_projection_has_three_values_in_the_shares_of_the_paper():
    R = dense("sparse")
    size = math.sqrt(math.sqrt(N) / D)
    np.testing.assert_allclose(np.unique(R), [-size, 0, size])
    share = 1 / math.sqrt(N)
    for sign in (-1, 1):
        found = (np.sign(R) == sign).mean()
        assert abs(found - share / 2) < 4 * math.sqrt(share / 2 / R.size)


@pytest.mark.parametrize("kind", ["sparse", "gaussian"])
def test_entries_have_mean_0_and_variance_1_over_d_and_know_nothing_of_each_other(kind):
    R = dense(kind) * math.sqrt(D)
    assert abs(R.mean()) < 4 / math.sqrt(R.size)
    assert R.var() == pytest.approx(1, abs=0.06)
    products = R.T @ R / N
    assert np.abs(products - np.diag(np.diag(products))).max() < 0.06
    assert len(np.unique(np.sign(R), axis=1).T) == D, "no column is there twice"


@pytest.mark.parametrize("kind", ["sparse", "gaussian"])
def test_a_column_is_the_same_whatever_others_are_drawn(kind):
    every = dense(kind)
    for columns in (range(1), range(5, 9), range(63, 64)):
        np.testing.assert_array_equal(dense(kind, columns=columns), every[:, columns])


@pytest.mark.parametrize("kind", ["sparse", "gaussian"])
def test_rows_are_scaled_and_seeds_differ(kind):
    scale = np.random.default_rng(0).uniform(0, 2, N)
    np.testing.assert_allclose(dense(kind, scale=scale), dense(kind) * scale[:, None])
    assert (dense(kind, seed=1) != dense(kind, seed=2)).any()


def test_what_is_drawn_never_changes():
    """Contexts that are computed anew, by whatever release of NumPy, must be what they were."""
    sparse = projected("sparse", 7, range(2), 4, np.ones(100))
    signs = np.sign(sparse.toarray()).astype(int)
    found = [
        [(i + 1) * sign for i, sign in enumerate(column) if sign] for column in signs.T.tolist()
    ]
    assert found == SIGNED
    np.testing.assert_allclose(projected("gaussian", 7, range(2), 4, np.ones(2)), GAUSSIAN)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_the_smallest_graphs_have_one(rows):
    assert dense("sparse", rows=rows).shape == (rows, D)
    assert (dense("sparse", rows=1) != 0).all(), "1 of 1: s is 1"


# Rows of each column that are not 0, counted from 1, with their signs.
SIGNED = [
    [-10, 18, 23, -33, -34, 41, 60, 67, 70, -71, 76, -79, -91, 98, -99],
    [-26, 31, -44, 58, 69, 79, 81, -90],
]
GAUSSIAN = [[0.5681236373224887, 0.5937044901293858], [-0.2688886806768269, -0.16720070911777837]]
