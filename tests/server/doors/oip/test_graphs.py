"""Graphs by the protocol: fitted to an id, by which nodes are looked up."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest

from foretoken.models.tasks import GraphRequest
from foretoken.proto import grpc_service as oip
from foretoken.server.registry.registry import Registry
from tests.asynchronous import awaited
from tests.server.doors.oip.door import arrays, request, serving
from tests.server.doors.oip.test_tables import cache, texts

SOURCES, TARGETS = np.array([0, 1, 2, 3, 0], np.int32), np.array([1, 2, 3, 4, 3])
WEIGHTS = np.array([1, 2, 3, 1, 2], np.float32)
GRAPH = {"sources": SOURCES, "targets": TARGETS, "weights": WEIGHTS}
NODES = {"nodes": np.array([4, 0, 4])}
ABSENT = {"context_id": "ctx-" + "0" * 64}


@pytest.fixture(scope="module")
def registry(tmp_path_factory, published):
    with Registry.open(tmp_path_factory.mktemp("graphs") / "data") as registry:
        registry.register("nodes", published("fastrp"))
        yield registry


def asked(tensors, **fields):
    return request(tensors, "nodes", **fields)


@awaited
async def test_a_graph_is_fitted_and_its_nodes_are_looked_up(registry):
    async with serving(registry) as stub:
        made = await stub.ModelInfer(asked(GRAPH))
        again = await stub.ModelInfer(asked(GRAPH, parameters={"count": 5, "dimensions": 16.0}))
        assert (cache(made), cache(again)) == ("MISS", "HIT")
        id_ = texts(made)
        assert id_ == texts(again)
        found = await stub.ModelInfer(asked(NODES, parameters={"context_id": id_}))
        plain = await stub.plane.predict("nodes", [GraphRequest(SOURCES, TARGETS, WEIGHTS)])
        wanted = plain.replies[0].vectors[[4, 0, 4]]
        np.testing.assert_array_equal(arrays(found)["vectors"], wanted, strict=True)
        directed = await stub.ModelInfer(asked(GRAPH, parameters={"directed": True}))
        assert texts(directed) != id_


@awaited
async def test_the_model_is_described(registry):
    async with serving(registry) as stub:
        said = await stub.ModelMetadata(oip.ModelMetadataRequest(name="nodes"))
        assert [t.name for t in said.inputs][:4] == ["sources", "targets", "weights", "nodes"]
        assert [(t.name, t.datatype) for t in said.outputs] == [
            ("vectors", "FP32"),
            ("context_id", "BYTES"),
        ]
        assert said.properties["task"] == "graph"
        assert (await stub.ModelConfig(oip.ModelConfigRequest(name="nodes"))).config.input
        assert (await stub.ModelReady(oip.ModelReadyRequest(name="nodes"))).ready


@pytest.mark.parametrize(
    ("tensors", "fields", "code", "told"),
    [
        ({"sources": SOURCES}, {}, "INVALID_ARGUMENT", "give sources and targets to fit a graph"),
        ({**GRAPH, **NODES}, {}, "INVALID_ARGUMENT", "and then context_id and nodes"),
        (NODES, {}, "INVALID_ARGUMENT", "give sources and targets to fit"),
        ({}, {"parameters": ABSENT}, "INVALID_ARGUMENT", "'nodes' is missing"),
        (GRAPH, {"parameters": ABSENT}, "INVALID_ARGUMENT", "a context has its own graph"),
        (NODES, {"parameters": {**ABSENT, "seed": 1}}, "INVALID_ARGUMENT", "leave out seed"),
        (NODES, {"parameters": ABSENT}, "NOT_FOUND", "deleted, has expired or never was"),
        (GRAPH, {"outputs": ["vectors"]}, "INVALID_ARGUMENT", "needs nodes"),
        (
            GRAPH,
            {"parameters": {"count": "many"}},
            "INVALID_ARGUMENT",
            "'count' must be an integer",
        ),
        (GRAPH, {"parameters": {"directed": 1}}, "INVALID_ARGUMENT", "'directed' must be a bool"),
        (GRAPH, {"parameters": {"self_loops": "x"}}, "INVALID_ARGUMENT", "not 'x'"),
        (GRAPH, {"parameters": {"steps": 3}}, "INVALID_ARGUMENT", "unknown options steps"),
        ({**GRAPH, "weights": -WEIGHTS}, {}, "INVALID_ARGUMENT", "the weight of edge 0 is -1.0"),
        ({**GRAPH, "targets": TARGETS - 2}, {}, "INVALID_ARGUMENT", "which is no node"),
        (
            {"nodes": np.zeros(4097, int)},
            {"parameters": ABSENT},
            "INVALID_ARGUMENT",
            "may have 4096",
        ),
    ],
)
def test_what_is_no_request(registry, tensors, fields, code, told):
    async def refused():
        async with serving(registry) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(asked(tensors, **fields))
            assert (caught.value.code().name, told in caught.value.details()) == (code, True), (
                caught.value.details()
            )

    asyncio.run(refused())
