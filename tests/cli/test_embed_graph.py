"""``foretoken embed-graph``, as a user calls it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from foretoken.cli import embed_graph
from foretoken.cli.output import guarded
from foretoken.models.tasks import GraphRequest
from foretoken.server.app import open_plane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from tests.serving import serving

EDGES = np.array([(0, 1), (1, 2), (2, 3), (3, 0), (1, 3), (4, 0), (4, 2)])
NAMES = ["eve", "ann", "bob", "dan", "cy"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, published):
    folder = tmp_path_factory.mktemp("graphs")
    with Registry.open(folder) as registry:
        registry.register("fastrp", published("fastrp"))
    return folder


@pytest.fixture(scope="module")
def wanted(data_dir):
    with open_plane(load_settings(data_dir=data_dir)) as local:
        (reply,) = local.predict("fastrp", [GraphRequest(*EDGES.T)])
        return reply.vectors.copy()


@pytest.fixture
def call(data_dir, capsys):
    """Run the command on the data dir, or by a server; exit status, stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("embed-graph")(embed_graph.embed_graph)

    def run(*words, server=None):
        where = ["--data-dir", str(data_dir)] if server is None else ["--server", server]
        with pytest.raises(SystemExit) as ended, guarded():
            app([*map(str, words), *where])
        return ended.value.code or 0, *capsys.readouterr()

    return run


def write(path, rows, names=("source", "target")):
    with path.open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([names, *rows])
    return path


@pytest.fixture
def edges(tmp_path):
    return write(tmp_path / "edges.csv", EDGES)


def test_vectors_are_written_in_each_kind_of_file(call, edges, tmp_path, wanted):
    status, said, told = call(edges, "--out", tmp_path / "v.npy")
    assert (status, said) == (0, f"Wrote 5 vectors to {tmp_path / 'v.npy'}.\n")
    assert "Kept as ctx-" in told
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), wanted)
    assert call(edges, "--out", tmp_path / "v.parquet")[0] == 0
    found = pq.read_table(tmp_path / "v.parquet").to_pydict()
    assert found["node"] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(np.array(found["vector"], np.float32), wanted)
    assert call(edges, "--out", tmp_path / "v.csv")[0] == 0
    header, *rows = csv.reader((tmp_path / "v.csv").open(newline=""))
    assert header == ["node", *(f"v{i}" for i in range(16))]
    np.testing.assert_array_equal(np.array(rows, np.float32)[:, 1:], wanted)


def test_what_is_kept_is_looked_up(call, edges, tmp_path, wanted):
    status, said, _ = call(edges, "--json")
    made = json.loads(said)
    assert (status, made["nodes"], made["dimensions"], made["notes"]) == (0, 5, 16, [])
    out = tmp_path / "some.npy"
    assert call("--context", made["context"], "--nodes", "3,1,3", "--out", out)[0] == 0
    np.testing.assert_array_equal(np.load(out), wanted[[3, 1, 3]])
    assert json.loads(call(edges, "--json")[1])["cached"]


def test_nodes_may_have_names(call, tmp_path, wanted):
    named = [[NAMES[s], NAMES[t]] for s, t in EDGES]
    out = tmp_path / "v.parquet"
    assert call(write(tmp_path / "n.csv", named), "--out", out, "-o", "projection=gaussian")[0] == 0
    found = pq.read_table(out).to_pydict()
    assert found["node"] == sorted(NAMES)
    far = write(tmp_path / "far.csv", EDGES * 10**12)
    status, _, told = call(far, "--out", tmp_path / "far.npy")
    assert status == 2
    assert "nodes" in told
    assert call(far, "--out", tmp_path / "far.npy", "--renumber")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "far.npy"), wanted)


def test_weights_and_parquet_are_read(call, tmp_path):
    rows = [[*edge, i + 1.5] for i, edge in enumerate(EDGES.tolist())]
    names = ("source", "target", "weight")
    one = json.loads(call(write(tmp_path / "w.csv", rows, names), "--json")[1])
    path = tmp_path / "w.parquet"
    pq.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), path)
    assert json.loads(call(path, "--json")[1])["context"] == one["context"]
    plain = json.loads(call(write(tmp_path / "p.csv", EDGES), "--json")[1])
    assert plain["context"] != one["context"]


def test_a_server_answers_the_same(call, data_dir, edges, tmp_path, wanted):
    with serving(data_dir=data_dir) as server:
        done = call(edges, "--out", tmp_path / "v.npy", server=server.address)
        assert done[0] == 0
        np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), wanted)
        some = ("--nodes", "4", "--out", tmp_path / "one.npy")
        context = done[2].split("Kept as ")[1].split(",")[0]
        assert call("--context", context, *some, server=server.address)[0] == 0
        np.testing.assert_array_equal(np.load(tmp_path / "one.npy"), wanted[[4]])


@pytest.mark.parametrize(
    ("rows", "names", "words", "said"),
    [
        ([], ("source", "target"), (), "has no edges"),
        ([[1, 2]], ("a", "b"), (), "has the columns a, b; those of a graph are source, target"),
        ([[1, "x"], [2, 3]], ("source", "target"), (), "are numbers of nodes, or names"),
        ([["", "x"], ["y", "z"]], ("source", "target"), (), "the edge 1 lacks an end"),
        ([[1, 1]], ("source", "target"), (), "node 1 has an edge to itself"),
        ([[1, -2]], ("source", "target"), (), "which is no node"),
        ([[1, 2], [1, 2]], ("source", "target"), (), "is given more than once"),
        ([[1, 2]], ("source", "target"), ("-o", "dimensions"), "is not NAME=VALUE"),
        ([[1, 2]], ("source", "target"), ("-o", "size=3"), "unknown options size"),
        ([[1, 2]], ("source", "target"), ("--nodes", "a"), "--nodes is numbers with commas"),
        ([[1, 2]], ("source", "target"), ("--out", "v.txt"), "must end in one of .npy"),
        ([[1, 2]], ("source", "target"), ("--context", "ctx-1"), "give EDGES to embed, or"),
        (
            [["a", "b"]],
            ("source", "target"),
            ("--count", "3", "--out", "v.npy"),
            "names 2 of them, and others have no name",
        ),
        (
            [[1, 2]],
            ("source", "target"),
            ("--out", "v.npy", "--nodes", "3"),
            "entry 0 of nodes is 3",
        ),
    ],
)
def test_what_is_wrong_is_told_on_one_line(call, tmp_path, monkeypatch, rows, names, words, said):
    monkeypatch.chdir(tmp_path)
    status, out, told = call(write(tmp_path / "e.csv", rows, names), *words)
    assert (status, out) == (2, "")
    assert said in told.splitlines()[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["e.csv"]


def test_a_context_needs_a_file_to_write_to(call):
    assert "--out is missing" in call("--context", "ctx-1")[2]
    assert "leave out --option" in call("--context", "ctx-1", "--out", "v.npy", "-o", "seed=1")[2]
