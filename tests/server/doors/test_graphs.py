"""The door of graphs, over a real plane and a real channel, by the client's methods."""

from __future__ import annotations

import asyncio
import io
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc
from scipy import sparse

from foretoken.client import graphs as client_graphs
from foretoken.errors import InvalidInput, NotFound
from foretoken.models.tasks import GraphRequest
from foretoken.proto import graphs as wire
from foretoken.proto import tabular
from foretoken.server.doors.embeddings import embeddings
from foretoken.server.registry.registry import Registry
from foretoken.server.terms import Terms
from tests.asynchronous import awaited
from tests.server.doors.answering import answering

N = 30
RNG = np.random.default_rng(2)
PAIRS = np.array(sorted({tuple(sorted(p)) for p in RNG.integers(0, N, (90, 2)) if p[0] != p[1]}))
SOURCES, TARGETS = PAIRS.T
WEIGHTS = RNG.uniform(0.5, 3, len(PAIRS))


@pytest.fixture(scope="module")
def registry(tmp_path_factory, published):
    with Registry.open(tmp_path_factory.mktemp("graphs") / "data") as registry:
        registry.register("nodes", published("fastrp"))
        registry.register("tables", published("tabpfn"))
        yield registry


door = partial(answering, embeddings)


def arrow(columns):
    out = io.BytesIO()
    made = pa.table(columns)
    with ipc.new_stream(out, made.schema) as writer:
        writer.write_table(made)
    return out.getvalue()


def csv(columns):
    lines = [
        ",".join(columns),
        *(",".join(map(repr, row)) for row in zip(*columns.values(), strict=True)),
    ]
    return "\n".join(lines).encode()


TABLE = {"source": SOURCES.tolist(), "target": TARGETS.tolist(), "weight": WEIGHTS.tolist()}
MATRIX = sparse.coo_array((WEIGHTS, (SOURCES, TARGETS)), shape=(N, N)).tocsr()
FORMS = {
    "arrays": (SOURCES, TARGETS, WEIGHTS),
    "narrow arrays": (SOURCES.astype(np.int16), TARGETS.tolist(), WEIGHTS),
    "matrix": MATRIX,
    "whole matrix": (MATRIX + MATRIX.T).tocsr(),
    "columns": TABLE,
    "arrow": arrow(TABLE),
    "csv": csv(TABLE),
}


@awaited
async def test_every_form_of_a_graph_is_the_same_graph(registry):
    async with door(registry) as ours:
        made = {n: await ours.client.embed_graph("nodes", f, count=N) for n, f in FORMS.items()}
        first = made["arrays"]
        assert [each.cached for each in made.values()] == [False] + [True] * (len(FORMS) - 1)
        assert {each.id for each in made.values()} == {first.id}
        assert (first.nodes, first.dimensions, first.nbytes) == (N, 16, 4 * 16 * N)
        assert (first.model, first.version) == ("nodes", 1)
        plain = await ours.plane.predict("nodes", [GraphRequest(SOURCES, TARGETS, WEIGHTS)])
        vectors = await ours.client.node_vectors(first)
        np.testing.assert_array_equal(vectors, plain.replies[0].vectors)


@awaited
async def test_a_file_is_read_by_the_client(registry, tmp_path):
    path = tmp_path / "edges.csv"
    path.write_bytes(csv(TABLE))
    async with door(registry) as ours:
        made = await ours.client.embed_graph("nodes", str(path), directed=True)
        again = await ours.client.embed_graph("nodes", FORMS["arrays"], directed=True)
        assert again.id == made.id
        with pytest.raises(NotFound, match="no file"):
            await ours.client.embed_graph("nodes", tmp_path / "other.csv")


@awaited
async def test_nodes_are_looked_up_in_any_order_and_number(registry, monkeypatch):
    monkeypatch.setattr(client_graphs, "FIRST", 4)
    monkeypatch.setattr(client_graphs, "NUMBERS", 16 * 7)  # so that it takes several calls
    async with door(registry) as ours:
        made = await ours.client.embed_graph("nodes", FORMS["arrays"])
        every = await ours.client.node_vectors(made.id)
        assert (every.shape, every.dtype) == ((N, 16), np.float32)
        for nodes in ([3], [5, 5, 0], [], np.arange(N)[::-1], RNG.integers(0, N, 100)):
            found = await ours.client.node_vectors(made, nodes)
            np.testing.assert_array_equal(found, every[np.asarray(nodes, int)], strict=True)
        with pytest.raises(InvalidInput, match=r"entry 1 of nodes is 30, .*these are 0 to 29"):
            await ours.client.node_vectors(made, [0, N])
        with pytest.raises(NotFound, match="is not the id of a context"):
            await ours.client.node_vectors("ctx-1", [0])


@awaited
async def test_notes_and_choices_are_told(registry):
    async with door(registry) as ours:
        looped = ([*SOURCES, 3], [*TARGETS, 3])
        with pytest.raises(InvalidInput, match="node 3 has an edge to itself"):
            await ours.client.embed_graph("nodes", looped)
        dropped = await ours.client.embed_graph("nodes", looped, self_loops="drop")
        plain = await ours.client.embed_graph("nodes", PAIRS)
        assert dropped.id == plain.id
        kept = await ours.client.embed_graph("nodes", looped, self_loops="keep")
        assert kept.id != plain.id
        lonely = await ours.client.embed_graph("nodes", PAIRS, count=N + 1)
        assert lonely.notes == ("1 nodes have no edges and have vectors of zeros: 30",)
        vectors = await ours.client.node_vectors(lonely, [N])
        assert (vectors == 0).all()
        short = await ours.client.embed_graph("nodes", PAIRS, options={"dimensions": 3})
        assert short.dimensions == 3


BAD = {
    "nothing": ([], [], "has no edges"),
    "lengths": ([0, 1], [1], "must have one length"),
    "negative ids": ([0, -1], [1, 2], "entry 1 of sources is -1, which is no node"),
    "reals": ([0.0, 1.0], [1, 2], "sources must be a list of integers, not float64"),
    "duplicates": ([0, 0], [1, 1], "from 0 to 1 is given more than once"),
    "negative weights": ([0, 1], [1, 2], [1, -1], "the weight of edge 1 is -1.0"),
    "no weight": ([0, 1], [1, 2], [1, np.nan], "the weight of edge 1 is nan"),
    "two weights": ([0, 1], [1, 0], [1, 2], "has weight 1 in one direction and 2 in the other"),
    "few weights": ([0, 1], [1, 2], [1], "one number for each of the 2 edges"),
    "text for weights": ([0, 1], [1, 2], ["a", "b"], "weights must be numbers"),
    "loops": ([0, 1], [1, 1], "node 1 has an edge to itself"),
}


@pytest.mark.parametrize("pairs", [[(0, 1), (2, 3)], [[0, 1], [2, 3], [3, 0]]])
@awaited
async def test_a_list_is_of_pairs_however_few(registry, pairs):
    async with door(registry) as ours:
        made = await ours.client.embed_graph("nodes", pairs)
        ends = tuple(np.array(pairs).T)
        assert made.id == (await ours.client.embed_graph("nodes", ends)).id
        assert made.id == (await ours.client.embed_graph("nodes", np.array(pairs))).id


@awaited
async def test_bad_graphs_are_typed_errors(registry):
    async with door(registry) as ours:
        for graph in BAD.values():
            with pytest.raises(InvalidInput, match=graph[-1]):
                await ours.client.embed_graph("nodes", graph[:-1])
        for graph, said in (
            ({"from": [1], "to": [2]}, "those of a graph are source, target"),
            (csv({"source": [1], "goal": [2]}), "those of a graph are source, target"),
            (csv({"source": ["a"], "target": ["b"]}), "number the nodes from 0"),
            (csv({"a": [1], "b": [1], "c": [1], "d": [1]}), "table has 4 columns"),
            (arrow({"source": [1.5], "target": [1.0]}), "must be a list of integers"),
            (b"\xff\xff\xff\xff", "Arrow stream is damaged"),
            (sparse.coo_array(MATRIX), "not a coo_array"),
            (MATRIX.tocsc(), r"not csc of shape .*tocsr"),
            (MATRIX[:4], "rows and columns for its nodes"),
            ("nodes", "no file nodes"),
            (np.zeros((3, 3), int), "not a ndarray"),
            ([[0, 1, 2], [1, 2, 3]], "list or array .E, 2. of pairs.*not a list"),
            ([[0, 1], [1]], "not a list"),
        ):
            with pytest.raises((InvalidInput, NotFound), match=said):
                await ours.client.embed_graph("nodes", graph)
        for said in ({"count": 3}, {"count": -1}, {"self_loops": "x"}, {"duplicates": "x"}):
            with pytest.raises(InvalidInput):
                await ours.client.embed_graph("nodes", PAIRS, **said)
        with pytest.raises(InvalidInput, match="answers tabular requests, not graph"):
            await ours.client.embed_graph("tables", PAIRS)
        with pytest.raises(NotFound):
            await ours.client.embed_graph("absent", PAIRS)


def csr(starts, columns, weights=b""):
    ids = [wire.Ids(wide=np.array(a, "<i8").tobytes()) for a in (starts, columns)]
    return wire.Graph(csr=wire.Csr(starts=ids[0], columns=ids[1], weights=weights))


EDGES = wire.Edges(sources=wire.Ids(narrow=bytes(4)), targets=wire.Ids(narrow=b"\1\0\0\0"))
RAW = [
    (wire.EmbedGraphRequest(model="nodes"), "give a graph, or context_id"),
    (wire.EmbedGraphRequest(model="nodes", graph=wire.Graph()), "the graph is empty"),
    (wire.EmbedGraphRequest(context_id="ctx-1", plan_only=True), "go with a graph"),
    (
        wire.EmbedGraphRequest(context_id="ctx-1", nodes=wire.Ids(narrow=b"123")),
        "nodes has 3 bytes of i4, 4 bytes each",
    ),
    (wire.EmbedGraphRequest(model="nodes", graph=wire.Graph(edges=EDGES, nodes=-1)), "nodes is -1"),
    (
        wire.EmbedGraphRequest(
            model="nodes", graph=wire.Graph(edges=EDGES), options={"seed": tabular.Option()}
        ),
        "option 'seed' has no value",
    ),
    *(
        (wire.EmbedGraphRequest(model="nodes", graph=csr(*given)), "starts must rise from 0 to")
        for given in (([], []), ([0], []), ([0, 2, 1], [1]), ([1, 1], [0]), ([0, 3, 2], [0, 1]))
    ),
    (
        wire.EmbedGraphRequest(model="nodes", graph=csr([0, 1, 1], [1], b"1234567")),
        "weights has 7 bytes of f8",
    ),
]


@awaited
async def test_malformed_messages_are_typed_errors(registry):
    async with door(registry) as ours:
        call = SimpleNamespace(terms=Terms(), answered=lambda _: None)
        for asked, said in RAW:
            with pytest.raises(InvalidInput, match=said):
                await ours.methods["EmbedGraph"].handler(asked, call)
        wrong = csr([0, 1, 1], [1])
        wrong.nodes = 3
        with pytest.raises(InvalidInput, match="nodes is 3, but csr has 2 rows"):
            await ours.methods["EmbedGraph"].handler(
                wire.EmbedGraphRequest(model="nodes", graph=wrong), call
            )


@awaited
async def test_a_plan_computes_and_keeps_nothing(registry):
    async with door(registry) as ours:
        call = SimpleNamespace(terms=Terms(), answered=lambda _: None)
        before = await ours.plane.contexts()
        graph = client_graphs.graph_message(PAIRS + 500)
        asked = wire.EmbedGraphRequest(model="nodes", graph=graph, plan_only=True)
        reply = await ours.methods["EmbedGraph"].handler(asked, call)
        assert (reply.nbytes, reply.context_id) == (4 * 16 * (500 + N), "")
        assert await ours.plane.contexts() == before


@awaited
async def test_a_reply_has_room_for_so_many_vectors(registry):
    async with door(registry, message_bytes=1 << 15) as ours:
        call = SimpleNamespace(terms=Terms(), answered=lambda _: None)
        made = await ours.client.embed_graph("nodes", PAIRS)
        most = (1 << 15) // 64
        nodes = np.zeros(most + 1, "<i4")
        asked = wire.EmbedGraphRequest(context_id=made.id, nodes=wire.Ids(narrow=nodes.tobytes()))
        with pytest.raises(
            InvalidInput, match=f"do not fit .* ask for at most {most} nodes at once"
        ):
            await ours.methods["EmbedGraph"].handler(asked, call)
        asked.nodes.narrow = nodes[1:].tobytes()
        reply = await ours.methods["EmbedGraph"].handler(asked, call)
        assert len(reply.vectors) == 1 << 15
        assert reply.cache == tabular.HIT


@awaited
async def test_concurrent_embeddings_of_one_graph_are_computed_once(registry):
    async with door(registry) as ours:
        graph = (SOURCES + 1, TARGETS + 1)
        made = await asyncio.gather(*(ours.client.embed_graph("nodes", graph) for _ in range(5)))
        assert len({each.id for each in made}) == 1
        records = [c for c in await ours.plane.contexts() if c.id == made[0].id]
        assert len(records) == 1
