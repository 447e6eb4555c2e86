"""``foretoken embed`` and ``foretoken search``, as a user calls them."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from foretoken import Embedder
from foretoken.cli import embed, search
from foretoken.cli.output import guarded
from foretoken.server.app import local_plane
from foretoken.server.settings import load_settings
from tests.serving import serving
from tests.toy_families import toy_families

WIDTH, LIMIT = 16, 32  # of the toy
TEXTS = ["one", "zw\u00f6lf, with a comma", "", "one", "  spaces  "]


@pytest.fixture(scope="module")
def home(tmp_path_factory, published):
    folder = tmp_path_factory.mktemp("embed")
    with toy_families(folder) as env:
        plane = local_plane(load_settings(data_dir=folder / "data"))
        plane.registry.register("toy", published("stateless"))
        yield folder / "data", env


@pytest.fixture
def call(home, capsys):
    """Run a command on the data dir, or with a server; exit status, stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("embed")(embed.embed)
    app.command("search")(search.search)

    def run(*words):
        where = [] if "--server" in words else ["--data-dir", str(home[0])]
        with pytest.raises(SystemExit) as ended, guarded():
            app([*map(str, words), *where])
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def made(call, tmp_path):
    """Embed a file; what was said, and what was written."""

    def run(file, *words, out="e.npy", model="toy"):
        path = tmp_path / out
        status, told, err = call("embed", file, "--out", path, "--model", model, "--json", *words)
        assert status == 0, err
        written = np.load(path) if path.suffix == ".npy" else pq.read_table(path)
        return json.loads(told), written

    return run


@pytest.fixture
def refused(call, tmp_path):
    """Embed what must be refused in one line; that line. Nothing is left."""

    def run(file, *words, out="e.npy", model="toy"):
        path = tmp_path / "out" / out
        status, told, err = call("embed", file, "--out", path, "--model", model, *words)
        assert (status, told) == (2, "")
        assert not path.parent.exists() or list(path.parent.iterdir()) == []
        return err.splitlines()[-1]

    return run


def lines(path, texts=TEXTS, end="\n"):
    path.write_bytes(end.join(texts).encode() + end.encode())
    return path


def expected(home, texts=TEXTS, **options):
    return Embedder("toy", data_dir=home[0]).embed(texts, **options)


# -- what is read ---------------------------------------------------------------------------------


def test_each_line_is_a_text(made, home, tmp_path):
    said, vectors = made(lines(tmp_path / "a.txt"))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(home), atol=1e-6)
    assert said == {
        "texts": 5, "dimensions": WIDTH, "cut": 0, "model": "toy:1",
        "out": str(tmp_path / "e.npy"),
    }  # fmt: skip
    _, windows = made(lines(tmp_path / "b.txt", ["\ufeffone", *TEXTS[1:]], "\r\n"))
    np.testing.assert_array_equal(windows, vectors)
    (tmp_path / "c.txt").write_text("\n".join(["a", "b"]), "utf-8")  # without a last line end
    assert len(made(tmp_path / "c.txt")[1]) == 2


def test_more_texts_than_a_message_has(made, home, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "CHUNK", 7)
    many = [f"text {i}" for i in range(100)]
    for out in ("e.npy", "e.parquet"):
        said, written = made(lines(tmp_path / "a.txt", many), out=out)
        found = written if out == "e.npy" else np.stack(written["embedding"].to_numpy())
        np.testing.assert_allclose(found, expected(home, many), atol=1e-6)
        assert said["texts"] == 100


def test_the_standard_input_is_lines(made, home, monkeypatch):
    given = io.TextIOWrapper(io.BytesIO("\n".join(TEXTS).encode()), "utf-8")
    monkeypatch.setattr(sys, "stdin", given)
    _, vectors = made("-")
    np.testing.assert_allclose(vectors, expected(home), atol=1e-6)


def test_columns_of_tables(made, home, tmp_path):
    texts = ["one", "two, and", "2024", "true"]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([["id", "said"], *enumerate(texts)])
    pq.write_table(pa.table({"said": texts, "id": [1, 2, 3, 4]}), tmp_path / "a.parquet")
    for file in ("a.csv", "a.parquet"):
        _, vectors = made(tmp_path / file, "--column", "said")
        np.testing.assert_allclose(vectors, expected(home, texts), atol=1e-6)
    lines(tmp_path / "digits.csv", ["id,said", "1,10", "2,20"])
    _, vectors = made(tmp_path / "digits.csv", "--column", "said")
    np.testing.assert_allclose(vectors, expected(home, ["10", "20"]), atol=1e-6)


def test_json_lines(made, home, tmp_path):
    plain = lines(tmp_path / "a.jsonl", [json.dumps(text) for text in TEXTS])
    keyed = lines(tmp_path / "b.ndjson", [json.dumps({"t": text, "i": 1}) for text in TEXTS])
    np.testing.assert_allclose(made(plain)[1], expected(home), atol=1e-6)
    np.testing.assert_allclose(made(keyed, "--column", "t")[1], expected(home), atol=1e-6)


def test_paragraphs_of_a_folder(made, home, tmp_path):
    folder = tmp_path / "notes"
    (folder / "more").mkdir(parents=True)
    (folder / "b.txt").write_text("first line\nof a paragraph\n\n\nsecond\n", "utf-8")
    (folder / "more" / "a.md").write_text("\n# Title\n \nlast", "utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    said, table = made(folder, out="e.parquet")
    assert said["texts"] == 4
    texts = ["first line of a paragraph", "second", "# Title", "last"]
    assert table.column_names == ["source", "text", "embedding"]
    assert table["text"].to_pylist() == texts
    assert table["source"].to_pylist() == [
        f"{folder}/b.txt:1", f"{folder}/b.txt:5", f"{folder}/more/a.md:2", f"{folder}/more/a.md:4"
    ]  # fmt: skip
    np.testing.assert_allclose(
        np.stack(table["embedding"].to_numpy()), expected(home, texts), atol=1e-6
    )


# -- what is written ------------------------------------------------------------------------------


def test_parquet_holds_texts_and_vectors_of_fixed_size(made, home, tmp_path):
    file = lines(tmp_path / "a.txt")
    said, table = made(
        file, "--dimensions", 8, "--prompt", "q: ", "--truncate", "error", out="e.parquet"
    )
    assert table.schema.field("text").type == pa.string()
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 8)
    assert table["text"].to_pylist() == TEXTS
    vectors = np.stack(table["embedding"].to_numpy())
    np.testing.assert_allclose(vectors, expected(home, dimensions=8, prompt="q: "), atol=1e-6)
    told = {k: v for k, v in table.schema.metadata.items() if k.startswith(b"foretoken.")}
    assert told == {
        b"foretoken.model": b"toy:1", b"foretoken.dimensions": b"8", b"foretoken.prompt": b"q: "
    }  # fmt: skip
    assert said["dimensions"] == 8


def test_what_was_cut_is_told(call, tmp_path):
    file = lines(tmp_path / "a.txt", ["x" * (LIMIT + 1), "short", "y" * 50])
    status, out, err = call("embed", file, "--out", tmp_path / "e.npy", "--model", "toy")
    assert (status, err) == (0, "note: the ends of 2 texts were cut off: they are too long\n")
    assert out == f"Wrote 3 vectors of 16 dimensions to {tmp_path}/e.npy, by toy:1.\n"


def test_a_server_writes_the_same(made, home, tmp_path):
    data_dir, env = home
    long = ["x" * 60_000] * 200  # more than one message holds
    file = lines(tmp_path / "a.txt", [f"text {i}" for i in range(400)] + long)
    _, here = made(file, "--prompt", "q")
    with serving(data_dir=data_dir, env=env) as running:
        said, there = made(file, "--prompt", "q", "--server", running.address)
    np.testing.assert_allclose(here, there, atol=1e-6)
    assert (said["model"], said["texts"]) == ("toy:1", 600)


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words", "said"),
    [
        ("a.txt", b"", (), "a.txt has no texts"),
        ("a.txt", b"fine\n\xff\xfe\n", (), "line 2: not UTF-8: invalid start byte at byte 0"),
        ("a.txt", b"a\n", ("--column", "b"), "plain lines have none"),
        ("a.txt", b"a\n", ("--dimensions", "5"), "a.txt: dimensions are 16 or 8, not 5"),
        ("a.txt", b"a\n", ("--truncate", "start"), "'end' or 'error'"),
        ("a.txt", b"a\n" + b"b" * 40, ("--truncate", "error"), "text 1 has 40 tokens"),
        ("a.csv", b"x,y\na,b\n", (), "--column says which holds the texts; "),
        ("a.csv", b"x,y\na,b\n", ("--column", "z"), "has no column 'z'; it has x, y"),
        ("a.csv", b"x,y\na,b\n,c\n", ("--column", "x"), "column 'x' is empty in row 2"),
        ("a.jsonl", b'"a"\n{\n', (), "line 2: not JSON"),
        ("a.jsonl", b'"a"\n3\n', (), "line 2 is not a string; --column names"),
        ("a.jsonl", b'{"t": "a"}\n', ("--column", "u"), "an object whose 'u' is a string"),
        ("a.jsonl", b'"a"\n', ("--column", "u"), "an object whose 'u' is a string"),
        ("a.jsonl", b'"\\ud800"\n', (), "text 0 is not Unicode"),
    ],
)
def test_files_that_are_refused(refused, tmp_path, name, content, words, said):
    (tmp_path / name).write_bytes(content)
    for out in ("e.npy", "e.parquet"):
        assert said in refused(tmp_path / name, *words, out=out)


def test_places_are_those_of_the_file(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "CHUNK", 10)
    file = lines(tmp_path / "a.txt", [*(f"text {i}" for i in range(25)), "x" * 40])
    line = refused(file, "--truncate", "error")
    assert "a.txt, of the texts from 20 on: text 5 has 40 tokens" in line
    (tmp_path / "b.txt").write_bytes(b"fine\n" * 25 + b"\xff\n")
    assert refused(tmp_path / "b.txt") == (
        f"error: {tmp_path}/b.txt, line 26: not UTF-8: invalid start byte at byte 0"
    )


def test_other_things_that_are_refused(refused, call, tmp_path):
    file = lines(tmp_path / "a.txt")
    assert "no file" in refused(tmp_path / "none.txt")
    assert "nobody" in refused(file, model="nobody")
    assert "answers curve requests" in refused(file, model="lcpfn")
    assert "must end in one of .npy, .parquet" in refused(file, out="e.csv")
    (tmp_path / "empty").mkdir()
    assert "has no documents" in refused(tmp_path / "empty")
    assert "plain lines have none" in refused(tmp_path / "empty", "--column", "a")
    pq.write_table(pa.table({"n": [1, 2]}), tmp_path / "n.parquet")
    assert "'n' does not hold text" in refused(tmp_path / "n.parquet", "--column", "n")
    (tmp_path / "bad.parquet").write_bytes(b"nothing of the kind")
    assert "not a Parquet file" in refused(tmp_path / "bad.parquet", "--column", "n")
    status, _, err = call("embed", file, "--out", tmp_path, "--model", "toy")
    assert (status, "is a folder" in err) == (2, True)


def test_ctrl_c_leaves_no_partial_file(home, tmp_path):
    data_dir, env = home
    out = tmp_path / "out" / "e.npy"
    code = "import foretoken.cli.embed as e; e.CHUNK = 1; from foretoken.cli import main; main()"
    words = ["embed", "-", "--model", "toy", "--out", out, "--data-dir", data_dir]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **env},
    )
    assert process.stdin is not None
    process.stdin.write(b"one\ntwo\n")
    process.stdin.flush()
    end = time.monotonic() + 60
    while not out.parent.exists() or not list(out.parent.iterdir()):
        assert process.poll() is None, "it waits for more lines"
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.3)  # rows are written
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert list(out.parent.iterdir()) == []


# -- search ---------------------------------------------------------------------------------------


def test_the_most_alike_texts_are_found(call, home, tmp_path, monkeypatch):
    from foretoken.cli import vectors

    monkeypatch.setattr(vectors, "ROWS", 10)
    folder = tmp_path / "notes"
    folder.mkdir()
    texts = [f"text number {i}" for i in range(35)] + ["the one that is sought", "x" * 200]
    (folder / "a.txt").write_text("\n\n".join(texts), "utf-8")
    file = tmp_path / "e.parquet"
    status, _, err = call("embed", folder, "--out", file, "--model", "toy", "--dimensions", 8)
    assert status == 0, err
    status, out, err = call("search", file, "the one that is sought", "--top", 3, "--json")
    assert status == 0, err
    rows = json.loads(out)
    assert list(rows[0]) == ["score", "source", "text"]
    assert rows[0]["text"] == "the one that is sought"
    assert rows[0]["source"] == f"{folder}/a.txt:71"
    assert rows[0]["score"] == pytest.approx(1, abs=1e-5)
    embedder = Embedder("toy", data_dir=home[0])
    with pytest.warns(UserWarning, match="1 of 37"):
        known = embedder.embed(texts, 8)
    scores = known @ embedder.embed(["the one that is sought"], 8)[0]
    best = np.argsort(-scores, kind="stable")[:3]
    assert [row["text"] for row in rows] == [texts[i] for i in best]
    np.testing.assert_allclose([row["score"] for row in rows], scores[best], atol=1e-5)
    status, out, _ = call("search", file, "the one", "--top", 40)
    assert (status, "37 of 37 texts, by toy:1" in out) == (0, True)
    assert "…" in out


def test_searches_that_are_refused(call, tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"no")
    flat = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 0.0], pa.float32()), 2)
    plain = pa.table({"text": ["a"], "embedding": flat})
    pq.write_table(plain, tmp_path / "c.parquet")
    told = {"foretoken.model": "toy:1"}
    pq.write_table(plain.replace_schema_metadata(told), tmp_path / "d.parquet")
    for file, said in (
        ("none.parquet", "no file"),
        ("a.parquet", "no columns `text` and `embedding`"),
        ("b.parquet", "not a Parquet file"),
        ("c.parquet", "does not say which model"),
        ("d.parquet", "2 dimensions, and its model makes 16"),
    ):
        status, out, err = call("search", tmp_path / file, "query")
        assert (status, out) == (2, "")
        assert said in err
