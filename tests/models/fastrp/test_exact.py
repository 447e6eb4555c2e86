"""FastRP in sparse blocks is FastRP in dense matrices, whatever the graph and the options."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken.models.tasks import GraphRequest
from tests.models.fastrp.dense import embedding
from tests.models.fastrp.graphs import LOOSE, answered, drawn, options, weighted

GRAPHS = {
    "plain": drawn(),
    "weighted": weighted(),
    "directed": drawn(2, directed=True),
    "directed and weighted": weighted(3, directed=True),
    "with self-loops": drawn(4, self_loops="keep"),
    "with isolated nodes": drawn(5, count=70),
    "with ends": GraphRequest(np.arange(20), np.arange(1, 21), directed=True),
    "in two parts": GraphRequest(
        np.concatenate([drawn(6).sources, drawn(7).sources + 60]),
        np.concatenate([drawn(6).targets, drawn(7).targets + 60]),
        **LOOSE,
    ),
}
WAYS = {
    "as published": {"weights": "0,0,7.81,45.28"},
    "one step": {"weights": "1"},
    "all powers": {"weights": "1,-2,0.5", "alpha": 0.3},
    "unscaled": {"alpha": 0.0},
    "gaussian": {"projection": "gaussian", "seed": 5},
    "normalised": {"normalize": "yes"},
    "normalised and gaussian": {"normalize": "yes", "projection": "gaussian", "alpha": -1},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GRAPHS)
def test_the_vectors_are_those_of_dense_matrices(name, way):
    graph = GRAPHS[name]
    with np.errstate(invalid="ignore"):  # columns that are the same for all
        wanted = np.nan_to_num(embedding(graph, options(**WAYS[way])))
    made = answered(graph, **WAYS[way]).vectors
    assert made.dtype == np.float32
    # Where walks have all but forgotten where they began, dense sums round differently.
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-5)


def test_columns_have_mean_0_and_deviation_1():
    vectors = answered(drawn()).vectors.astype(float)
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(vectors.std(axis=0), 1, atol=1e-6)


def test_isolated_nodes_are_zeros_that_are_told_and_change_no_others():
    graph = drawn(1, N=50)
    alone = answered(graph, projection="gaussian")
    reply = answered(drawn(1, N=50, count=53), projection="gaussian")
    assert (reply.count, alone.count) == (53, 50)
    assert (reply.vectors[50:] == 0).all()
    np.testing.assert_allclose(reply.vectors[:50], alone.vectors, atol=1e-6)
    assert reply.notes == ("3 nodes have no edges and have vectors of zeros: 50, 51, 52",)
    assert alone.notes == ()


def test_nodes_that_lead_nowhere_are_told_of():
    star = GraphRequest(np.zeros(9, int), np.arange(1, 10), directed=True)
    (note,) = answered(star).notes
    assert note == "9 nodes lead to no other and have vectors of zeros: 1, 2, 3, 4, 5, ..."


def test_a_column_that_is_the_same_for_all_is_zero():
    N = 6  # with a self-loop at each, all walks are everywhere at once
    sources, targets = (a.ravel() for a in np.meshgrid(np.arange(N), np.arange(N)))
    graph = GraphRequest(sources, targets, directed=True, self_loops="keep")
    assert (answered(graph).vectors == 0).all()


def test_the_scale_of_weights_does_not_matter():
    graph = weighted()
    scaled = GraphRequest(graph.sources, graph.targets, graph.weights * 1e-3, **LOOSE)
    wanted, made = answered(graph).vectors, answered(scaled).vectors
    np.testing.assert_allclose(made, wanted, atol=1e-5)


def test_neighbours_are_nearer_than_others():
    """What it is for: two groups of nodes with few edges between them."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 200)
    pairs = rng.integers(0, 200, (4000, 2))
    same = group[pairs[:, 0]] == group[pairs[:, 1]]
    pairs = pairs[same | (rng.random(4000) < 0.1)]
    vectors = answered(GraphRequest(*pairs.T, count=200, **LOOSE), dimensions=64).vectors
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = unit @ unit.T
    within = group[:, None] == group
    assert alike[within].mean() > alike[~within].mean() + 0.5
