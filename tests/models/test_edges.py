"""Graphs in canonical form: what says the same is the same, and what is ambiguous is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretoken.errors import InvalidInput
from foretoken.models.edges import LARGEST, canonical, count_of
from foretoken.models.tasks import GraphRequest


def graph(edges, weights=None, **said):
    sources, targets = np.array(edges, int).reshape(-1, 2).T
    return GraphRequest(sources, targets, None if weights is None else np.array(weights), **said)


def edges_of(request):
    made = canonical(request)
    weights = [1.0] * len(made.sources) if made.weights is None else made.weights.tolist()
    ends = zip(made.sources.tolist(), made.targets.tolist(), strict=True)
    return dict(zip(ends, weights, strict=True))


def test_undirected_edges_may_come_from_either_end_or_from_both():
    wanted = {(0, 1): 1.0, (1, 2): 1.0}
    for edges in ([(0, 1), (1, 2)], [(2, 1), (1, 0)], [(1, 0), (0, 1), (1, 2), (2, 1)]):
        assert edges_of(graph(edges)) == wanted
    assert edges_of(graph([(1, 0), (0, 1)], [2.5, 2.5])) == {(0, 1): 2.5}
    assert edges_of(graph([(1, 0), (0, 1)], directed=True)) == {(0, 1): 1.0, (1, 0): 1.0}


def test_edges_with_two_weights_are_refused():
    with pytest.raises(InvalidInput, match=r"between 1 and 2 has weight .* in one direction"):
        canonical(graph([(0, 1), (1, 2), (2, 1)], [1.0, 2.0, 3.0]))


def test_self_loops_are_refused_kept_or_dropped():
    edges = [(0, 1), (2, 2), (1, 2)]
    with pytest.raises(InvalidInput, match=r"node 2 has an edge to itself, as 1 edges are; pass"):
        canonical(graph(edges))
    kept = {(0, 1): 1.0, (1, 2): 1.0, (2, 2): 1.0}
    assert edges_of(graph(edges, self_loops="keep")) == kept
    dropped = graph(edges, [1.0, 2.0, 3.0], self_loops="drop")
    assert edges_of(dropped) == {(0, 1): 1.0, (1, 2): 3.0}
    with pytest.raises(InvalidInput, match="no edges but from nodes to themselves"):
        canonical(graph([(2, 2)], self_loops="drop"))


def test_duplicates_are_refused_or_summed():
    edges = [(0, 1), (3, 2), (0, 1), (3, 2), (0, 1)]
    with pytest.raises(InvalidInput, match=r"from 0 to 1 is given more than once, as 3 edges are"):
        canonical(graph(edges))
    with pytest.raises(InvalidInput, match=r"from 3 to 2 is given more than once"):
        canonical(graph([(3, 2), (3, 2)]))
    assert edges_of(graph(edges, duplicates="sum")) == {(0, 1): 3.0, (2, 3): 2.0}
    summed = graph([(0, 1), (1, 0), (0, 1)], [1.0, 2.0, 4.0], duplicates="sum")
    assert edges_of(summed) == {(0, 1): 7.0}
    assert edges_of(replace(summed, directed=True)) == {(0, 1): 5.0, (1, 0): 2.0}


def test_the_canonical_form_is_its_own_and_says_all():
    request = graph([(5, 1), (0, 4)], [1.0, 1.0], nodes=np.array([1]))
    made = canonical(request)
    assert canonical(made) is made
    assert (made.sources.dtype, made.targets.dtype, made.weights) == (np.int32, np.int32, None)
    assert (made.count, made.self_loops, made.duplicates) == (6, "keep", "sum")
    assert made.nodes is request.nodes


@given(st.data())
def test_any_order_of_the_same_edges_is_one_graph(data):
    N = data.draw(st.integers(1, 8))
    ends = st.tuples(st.integers(0, N - 1), st.integers(0, N - 1))
    edges = data.draw(st.lists(ends, min_size=1, max_size=20, unique=True))
    directed = data.draw(st.booleans())
    if not directed:
        edges = sorted({(min(e), max(e)) for e in edges})
    weights = data.draw(
        st.lists(st.integers(1, 3).map(float), min_size=len(edges), max_size=len(edges))
    )
    order = data.draw(st.permutations(range(len(edges))))
    turned = [edges[i] if directed or i % 2 else edges[i][::-1] for i in order]
    said = {"directed": directed, "self_loops": "keep", "count": N}
    one = canonical(graph(edges, weights, **said))
    other = canonical(graph(turned, [weights[i] for i in order], **said))
    np.testing.assert_array_equal(one.sources, other.sources)
    np.testing.assert_array_equal(one.targets, other.targets)
    np.testing.assert_array_equal(one.weights, other.weights)
    assert edges_of(one) == dict(zip(edges, weights, strict=True))
    again = canonical(one)
    np.testing.assert_array_equal(again.sources, one.sources)


def test_how_many_nodes_there_are_is_told_or_counted():
    assert count_of(graph([(3, 9)])) == 10
    assert count_of(graph([(3, 9)], count=40)) == 40
    for edges, said in (([], "has no edges"), ([(0, LARGEST)], "at most 2147483647 are taken")):
        with pytest.raises(InvalidInput, match=said):
            canonical(graph(edges))
    with pytest.raises(InvalidInput, match="there is no graph"):
        canonical(GraphRequest(nodes=np.array([0])))


LONG = np.array([0, 1, 2])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"targets": None}, "go together"),
        ({"targets": LONG[:2]}, r"sources \(3,\) and targets \(2,\) must have one length"),
        ({"sources": LONG.astype(float)}, "sources must be a list of integers, not float64"),
        ({"sources": LONG[None]}, r"sources must be a list of integers, not int64 of shape \(1, 3"),
        ({"sources": np.array(["a", "b", "c"])}, "number the nodes from 0"),
        ({"targets": np.array([0, -1, 2])}, "entry 1 of targets is -1, which is no node"),
        ({"count": 2}, "entry 2 of sources is 2, which is no node: these are 0 to 1"),
        ({"count": 0}, "count is 0"),
        ({"sources": np.array([0, 1, 2**64 - 1], np.uint64)}, "entry 2 of sources"),
        ({"weights": np.ones(2)}, "one number for each of the 3 edges"),
        ({"weights": np.array([1, -2, 1.0])}, "the weight of edge 1 is -2.0"),
        ({"weights": np.array([1, 0, 1.0])}, "the weight of edge 1 is 0.0"),
        ({"weights": np.array([1, 1, np.nan])}, "the weight of edge 2 is nan"),
        ({"weights": np.array([np.inf, 1, 1])}, "the weight of edge 0 is inf"),
        ({"nodes": np.array([-3])}, "entry 0 of nodes is -3"),
        ({"nodes": np.array([0.5])}, "nodes must be a list of integers"),
        ({"self_loops": "ignore"}, "self_loops is 'refuse', 'keep' or 'drop', not 'ignore'"),
        ({"duplicates": "drop"}, "duplicates is 'refuse' or 'sum'"),
        ({"context": "ctx-1"}, "give either a context or a graph"),
        ({"sources": None, "targets": None, "weights": np.ones(3)}, "go with the edges"),
        ({"sources": None, "targets": None, "count": 3}, "go with the edges"),
    ],
)
def test_what_is_no_graph_is_told_why(given, said):
    with pytest.raises(InvalidInput, match=said):
        GraphRequest(**{"sources": LONG, "targets": LONG, **given})
