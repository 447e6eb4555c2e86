"""Graphs as contexts: named by content, kept, shared, rebuilt bit for bit, one tenant's own."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from foretoken.errors import DataLoss, InvalidInput, NotFound, Overloaded, Unsupported
from foretoken.models.tasks import GraphRequest, TabularRequest
from foretoken.server.contexts.forms import from_bytes
from foretoken.server.contexts.graphs import GraphForm
from foretoken.server.registry.registry import Registry
from foretoken.server.terms import Caller, Scope, Terms
from tests.server.contexts.tables import blobs_of, damage, table

ANN = Terms(Caller("ann", frozenset({Scope.PREDICT}), tenant="a"))
BOB = Terms(Caller("bob", frozenset({Scope.PREDICT}), tenant="b"))
N = 40


@pytest.fixture
def data_dir(tmp_path, toys, published):
    with Registry.open(tmp_path / "data") as registry:
        registry.register("nodes", published("fastrp"))
        registry.register("toy", published("in_context"))
    return tmp_path / "data"


def graph(seed=0, **said) -> GraphRequest:
    rng = np.random.default_rng(seed)
    ring = np.arange(N)
    sources = np.concatenate([ring, rng.integers(0, N, N)])
    targets = np.concatenate([(ring + 1) % N, rng.integers(0, N, N)])
    weights = rng.uniform(0.5, 2, 2 * N)
    loose = {"self_loops": "drop", "duplicates": "sum"}
    return GraphRequest(sources, targets, weights, **{**loose, **said})


def ask(plane, context, nodes=range(N), model="", terms=ANN):
    request = GraphRequest(nodes=np.array(nodes, int), context=context)
    return plane.run(plane.plane.predict(model, [request], terms))


def fit(plane, request=None, model="nodes", terms=ANN):
    return plane.run(plane.plane.fit(model, request or graph(), terms))


def test_graphs_are_fitted_where_others_do_not_wait(plane, monkeypatch):
    from foretoken.models.fastrp import walk

    threads = []

    def watched(request, real=walk.walk_of):
        threads.append(threading.current_thread().name.partition("_")[0])
        return real(request)

    monkeypatch.setattr(walk, "walk_of", watched)
    plane.fit("nodes", graph())
    plane.answer("nodes", [graph(seed=1, nodes=np.arange(N))])
    assert threads == ["foretoken-bulk"] * 2


def test_an_embedded_graph_tells_the_vectors_of_the_graph_itself(plane):
    plain = plane.answer("nodes", [graph(nodes=np.arange(N))])
    assert plain.hits == (False,), "what comes inline is not kept"
    fitted = plane.fit("nodes", graph())
    assert not fitted.cached
    nodes = GraphRequest(nodes=np.arange(N), context=fitted.context.id)
    cached = plane.answer("", [nodes])
    again = plane.answer("nodes", [graph(nodes=np.arange(N))])
    assert cached.hits == again.hits == (True,)
    for each in (cached, again):
        np.testing.assert_array_equal(each.replies[0].vectors, plain.replies[0].vectors)


def test_what_is_told_of_a_graph_is_so(plane):
    said = plane.measure("nodes", graph())
    fitted = plane.fit("nodes", replace(graph(), count=N + 2))
    record = fitted.context
    assert (record.model, record.version, record.members) == ("nodes", 1, 1)
    assert record.columns == ("source", "target", "weight")
    assert (record.classes, record.texts) == ((), ())
    assert 2 * N - 10 < record.rows <= 2 * N
    assert said == 4 * 16 * N
    assert record.nbytes == 4 * 16 * (N + 2) <= record.kept_nbytes
    assert fitted.notes == ("2 nodes have no edges and have vectors of zeros: 40, 41",)
    assert plane.context(record.id) == record
    assert plane.contexts() == plane.contexts("nodes") == [record]


def test_the_same_graph_is_one_context(planes, registry):
    plane, request = planes(), graph()
    first = plane.fit("nodes", request)
    order = np.random.default_rng(5).permutation(2 * N)
    shuffled = replace(
        request,
        sources=request.targets[order].astype(np.uint16),
        targets=request.sources[order],
        weights=request.weights[order],
        count=N,
        options={"dimensions": 16.0, "weights": "0.5, 1.0, 0.25"},
    )
    second = planes().fit("nodes:1", shuffled)
    assert (first.cached, second.cached) == (False, True)
    assert first.context.id == second.context.id
    assert len(blobs_of(registry)) == 2
    others = [
        replace(request, directed=True),
        replace(request, weights=None),
        replace(request, count=N + 1),
        replace(request, options={"seed": 1}),
        replace(request, weights=request.weights * 2),
    ]
    ids = {plane.fit("nodes", each).context.id for each in others} | {first.context.id}
    assert len(ids) == 6


def test_a_lost_state_is_computed_anew_bit_for_bit(planes, registry):
    before = planes()
    context = fit(before, graph(options={"normalize": "yes"})).context
    plain = ask(before, context.id)
    for how in ("damaged", "absent"):
        damage(registry, registry.contexts.find(context.id, "a").kept_digest, how)
        plane = planes()
        first, second = ask(plane, context.id), ask(plane, context.id)
        assert (first.hits, second.hits) == ((False,), (True,))
        for each in (first, second):
            np.testing.assert_array_equal(each.replies[0].vectors, plain.replies[0].vectors)


def test_a_lost_graph_is_data_loss_once_its_state_is_gone_too(planes, registry):
    context = fit(planes()).context.id
    stored = registry.contexts.find(context, "a")
    damage(registry, stored.table_digest, "damaged")
    assert ask(planes(), context).hits == (True,)
    damage(registry, stored.kept_digest, "absent")
    with pytest.raises(DataLoss, match=r"training set of context ctx-.*fit again"):
        ask(planes(), context)


def test_tenants_share_neither_ids_nor_files_nor_vectors(plane, registry):
    mine, theirs = fit(plane), fit(plane, terms=BOB)
    assert not theirs.cached
    assert mine.context.id != theirs.context.id
    assert len(blobs_of(registry)) == 4
    for terms in (BOB, Terms()):
        with pytest.raises(NotFound, match=mine.context.id):
            ask(plane, mine.context.id, terms=terms)


def test_vectors_count_against_the_quota(planes):
    plane = planes(context_quota=6000)  # a graph of 1.5 KB, and vectors of 2.5
    first = fit(plane).context
    with pytest.raises(Overloaded, match="context_quota"):
        fit(plane, graph(1))
    plane.run(plane.plane.delete_context(first.id, ANN))
    assert not fit(plane, graph(1)).cached


def test_a_deleted_graph_leaves_no_byte(planes, registry):
    plane, other = planes(), planes()
    context = fit(plane).context.id
    assert ask(other, context).hits == (True,)
    plane.run(plane.plane.delete_context(context, ANN))
    for each in (plane, other):
        with pytest.raises(NotFound, match=context):
            ask(each, context)
    assert blobs_of(registry) == []


def test_what_is_too_large_is_refused_before_it_is_computed(planes):
    with pytest.raises(InvalidInput, match=r"graph of 80 edges .*takes, 79 \(graph_edges\)"):
        planes(graph_edges=79).fit("nodes", graph())
    with pytest.raises(InvalidInput, match=r"graph of 40 nodes .*takes, 39 \(graph_nodes\)"):
        planes(graph_nodes=39).measure("nodes", graph())
    with pytest.raises(Unsupported, match=r"would take 2560 bytes.*keeps 100 \(context_bytes\)"):
        planes(context_bytes=100).fit("nodes", graph())
    far = GraphRequest(np.array([0]), np.array([1 << 23]))
    with pytest.raises(Unsupported, match="context_bytes"):
        planes(context_bytes=1 << 20).fit("nodes", far)


def test_what_cannot_be_fitted_or_asked_is_told_why(plane):
    context = fit(plane).context.id
    tabular = fit(plane, table(), model="toy").context.id
    refused = [
        (lambda: fit(plane, graph(nodes=np.array([1]))), "no nodes to look up"),
        (lambda: fit(plane, GraphRequest(nodes=np.array([1]))), "to fit needs a graph"),
        (lambda: fit(plane, GraphRequest(context=context)), "stands for a graph already"),
        (lambda: fit(plane, table()), "answers graph requests, not tabular"),
        (lambda: fit(plane, graph(), model="toy"), "answers tabular requests, not graph"),
        (lambda: ask(plane, context, [N]), "entry 0 of nodes is 40"),
        (lambda: ask(plane, tabular), "answers tabular requests, not graph"),
        (lambda: ask(plane, context, model="toy"), "was fitted with nodes:1, not with toy"),
        (lambda: plane.answer("nodes", [GraphRequest(nodes=np.array([1]))]), "there is no graph"),
        (lambda: fit(plane, graph(options={"dims": 2})), "unknown options dims"),
    ]
    for call, said in refused:
        with pytest.raises(InvalidInput, match=said):
            call()
    wrong = TabularRequest(test={"source": np.zeros(1)}, context=context)
    with pytest.raises(InvalidInput, match="answers graph requests, not tabular"):
        plane.run(plane.plane.predict("", [wrong], ANN))


def test_a_graph_survives_its_bytes():
    form = GraphForm()
    for request in (
        graph(count=N),
        graph(options={"seed": 3, "weights": "1,2"}),
        graph(directed=True),
    ):
        before = form.canonical(request)
        after = from_bytes(form.to_bytes("ctx-1", before), "it")
        for name in ("sources", "targets", "weights"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name), strict=True)
        assert (after.count, after.directed) == (before.count, before.directed)
        assert dict(after.options) == dict(before.options)
        assert form.canonical(after) is after
        assert form.to_bytes("ctx-1", before) != form.to_bytes("ctx-2", before)
