"""``foretoken stream`` and ``foretoken snapshots``, on a data dir and by a server."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import typer

from foretoken.cli import snapshots, stream
from foretoken.cli.layout import Forecast, Layout, levels_of
from foretoken.cli.live import _Board
from foretoken.cli.output import guarded
from foretoken.cli.remote import remember
from foretoken.server.registry.registry import Registry
from tests.serving import serving

RNG = np.random.default_rng(6)
VALUES = np.sin(np.arange(90) / 5) + 0.1 * RNG.normal(size=90)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, published):
    folder = tmp_path_factory.mktemp("stream") / "data"
    with Registry.open(folder) as registry:
        registry.register("tiny", published("aaren"))
        registry.register("curves", published("lcpfn"))
    return folder


@pytest.fixture(scope="module")
def server(data_dir, tmp_path_factory):
    import shutil

    own = tmp_path_factory.mktemp("served") / "data"
    shutil.copytree(data_dir, own)
    with serving(data_dir=own) as running:
        yield running


@pytest.fixture(params=["here", "server"])
def place(request, data_dir):
    """Options that say where a command works."""
    if request.param == "here":
        return "--data-dir", str(data_dir)
    return "--server", request.getfixturevalue("server").address


@pytest.fixture
def call(capsys, monkeypatch):
    """Run a command line; exit status, stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(remember)
    app.command("stream")(stream.stream)
    app.add_typer(snapshots.app, name="snapshots")

    def run(*words, said=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(said))
        with pytest.raises(SystemExit) as ended, guarded():
            app([str(word) for word in words])
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def refused(call, data_dir):
    """Run a command line that must be refused in one line; that line."""

    def run(*words, said=""):
        status, out, err = call(*words, "--data-dir", data_dir, said=said)
        assert (status, out) == (2, ""), err
        assert err.count("\n") == 1
        return err

    return run


@pytest.fixture
def series(tmp_path):
    path = tmp_path / "series.csv"
    rows = [f"2020-01-{i % 28 + 1:02d},{value:.6f},{i}" for i, value in enumerate(VALUES)]
    path.write_text("\n".join(["date,load,count", *rows]))
    return path


def table(path):
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def lines(values):
    return "\n".join(f"{value:.6f}" for value in values)


def test_a_series_is_told_forecast_and_drawn(call, place, series, tmp_path):
    out, plot = tmp_path / "out.csv", tmp_path / "out.png"
    words = ("stream", "tiny", "--csv", series, "--column", "load", "--quantiles", "0.1,0.5,0.9")
    status, said, err = call(*words, "--out", out, "--plot", plot, *place)
    assert (status, err) == (0, "")
    header, *shown = said.splitlines()
    assert header.split() == ["step", "value", "anomaly", "q0.1", "q0.5", "q0.9"]
    assert [line.split()[0] for line in shown] == ["32", "64", "90"]
    rows = table(out)
    assert [row["step"] for row in rows] == [str(n) for n in range(1, 91)]
    np.testing.assert_allclose([float(row["value"]) for row in rows], VALUES, atol=1e-6)
    assert all(float(r["q0.1"]) <= float(r["q0.5"]) <= float(r["q0.9"]) for r in rows)
    assert all(float(row["anomaly"]) >= 0 for row in rows)
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_all_places_and_sizes_of_messages_say_the_same(call, data_dir, server, series, tmp_path):
    made = []
    for i, words in enumerate(
        (
            ("--data-dir", data_dir),
            ("--data-dir", data_dir, "--batch", "1"),
            ("--server", server.address, "--batch", "7", "--durable"),
        )
    ):
        out = tmp_path / f"{i}.csv"
        asked = ("stream", "tiny", "--csv", series, "--column", "load", "--horizon", "3")
        status, _, err = call(*asked, "--quantiles", "0.5", "--out", out, *words)
        assert (status, err) == (0, "")
        made.append([[float(cell) for cell in row.values()] for row in table(out)])
        assert list(table(out)[0])[3:] == ["q0.5_1", "q0.5_2", "q0.5_3"]
    np.testing.assert_allclose(made[1], made[0], atol=1e-4)
    np.testing.assert_allclose(made[2], made[0], atol=1e-4)


def test_lines_are_answered_as_they_come(call, place):
    words = ("stream", "tiny", "--json", "--horizon", "2", "--quantiles", "0.5")
    status, said, err = call(*words, *place, said="1.5\n\n 2.5 \n")
    assert (status, err) == (0, "")
    rows = [json.loads(line) for line in said.splitlines()]
    assert [(row["step"], row["value"]) for row in rows] == [(1, 1.5), (2, 2.5)]
    assert set(rows[0]) == {"step", "value", "anomaly", "q0.5_1", "q0.5_2"}


def test_a_state_goes_on_from_a_file_or_a_digest(call, place, tmp_path):
    whole, first, second = tmp_path / "whole.csv", tmp_path / "first.csv", tmp_path / "second.csv"
    state = tmp_path / "state"
    words = ("--quantiles", "0.5", *place)
    assert call("stream", "tiny", "--out", whole, *words, said=lines(VALUES[:40]))[0] == 0
    keeping = ("--snapshot-out", state, "--keep", "--out", first)
    status, said, err = call("stream", "tiny", *keeping, *words, said=lines(VALUES[:30]))
    assert (status, err) == (0, "")
    digest = said.split()[-1].rstrip(".")
    assert digest.startswith("snap-")
    for resume in (state, digest):
        again = ("stream", "--resume", resume, "--out", second, *place)
        status, _, err = call(*again, said=lines(VALUES[30:40]))
        assert (status, err) == (0, "")
        rows = table(second)
        assert [row["step"] for row in rows] == [str(n) for n in range(31, 41)]
        expected = [[float(c) for c in row.values()] for row in table(whole)[30:]]
        found = [[float(c) for c in row.values()] for row in rows]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    call("snapshots", "delete", digest, *place)


def test_snapshots_are_listed_shown_moved_and_deleted(call, place, tmp_path):
    status, said, err = call("stream", "tiny", "--keep", "--json", *place, said="1\n2\n")
    assert (status, err) == (0, "")
    kept = json.loads("".join(said.splitlines()[2:]))
    assert kept["step"] == 2
    digest = kept["snapshot"]
    for model in ([], ["tiny"]):
        listed = json.loads(call("snapshots", "list", *model, "--json", *place)[1])
        assert digest in [each["id"] for each in listed]
    assert json.loads(call("snapshots", "list", "curves", "--json", *place)[1]) == []
    assert "snap-" in call("snapshots", "list", *place)[1]
    shown = json.loads(call("snapshots", "show", digest, "--json", *place)[1])
    assert (shown["model"], shown["version"], shown["step"]) == ("tiny", 1, 2)
    assert "last used" in call("snapshots", "show", digest, *place)[1]
    file = tmp_path / "state"
    status, said, err = call("snapshots", "export", digest, "--out", file, *place)
    assert (status, err, str(file) in said) == (0, "", True)
    assert digest in call("snapshots", "delete", digest, *place)[1]
    assert call("snapshots", "show", digest, *place)[0] == 2
    assert digest in call("snapshots", "import", file, *place)[1]
    assert call("snapshots", "delete", digest, *place)[0] == 0
    assert call("snapshots", "export", digest, "--out", tmp_path / "none", *place)[0] == 2
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_read_is_refused(refused, series, tmp_path):
    def of(*words, said=""):
        return refused("stream", "tiny", *words, said=said)

    assert "date, load" not in of("--csv", series)
    assert "--column" in of("--csv", series)  # load or count
    assert "'none'" in of("--csv", series, "--column", "none")
    assert "'date'" in of("--csv", series, "--column", "date")
    assert "no file" in of("--csv", tmp_path / "absent.csv")
    empty = tmp_path / "empty.csv"
    empty.write_text("a\n")
    assert "empty.csv" in of("--csv", empty)
    gaps = tmp_path / "gaps.csv"
    gaps.write_text("a,b\n1,x\n,y\n3,z\n")
    assert "row 2" in of("--csv", gaps)
    assert "line 1" in of(said="half\n")
    assert "no values" in of(said="")
    assert "--column" in of("--column", "a", said="1\n")


def test_a_line_that_is_no_number_ends_it_after_those_before(call, data_dir):
    words = ("stream", "tiny", "--json", "--data-dir", data_dir)
    status, out, err = call(*words, said="1\nhalf\n2\n")
    assert (status, "line 2: 'half'" in err, out.count("\n")) == (2, True, 1)


def test_what_cannot_be_done_is_refused_before_anything_is(refused, tmp_path):
    def of(*words):
        return refused("stream", *words, said="1\n")

    assert "--resume" in of()
    assert "nobody" in of("nobody")
    assert "curves" in of("curves")
    assert "horizon" in of("tiny", "--horizon", "10000")
    assert "quantiles" in of("tiny", "--quantiles", "0.9,0.1")
    assert ".csv" in of("tiny", "--out", tmp_path / "out.txt")
    assert ".png" in of("tiny", "--plot", tmp_path / "out.txt")
    assert "no file" in of("--resume", tmp_path / "absent")
    (tmp_path / "nothing").write_bytes(b"")
    assert "empty" in of("--resume", tmp_path / "nothing")
    (tmp_path / "other").write_bytes(b"other")
    assert "snapshot" in of("--resume", tmp_path / "other")


def test_nothing_is_left_of_what_is_interrupted(call, data_dir, series, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("foretoken.server.local.LocalPlane.snapshot", interrupted)
    folder = tmp_path / "made"
    made = ("--plot", folder / "p.png", "--snapshot-out", folder / "state")
    words = ("stream", "tiny", "--csv", series, "--column", "load", "--data-dir", data_dir)
    assert call(*words, *made)[0] == 130
    assert not folder.exists()

    monkeypatch.setattr("foretoken.server.local.LocalPlane.step", interrupted)
    assert call(*words, "--out", folder / "out.csv")[0] == 130
    assert not folder.exists() or not list(folder.iterdir())


def test_rows_of_any_model():
    outputs = {"y": np.arange(12.0).reshape(2, 3, 2), "odd": np.array([0.5, 1.5])}
    layout = Layout(["a", "b"], outputs, (), whole=False)
    assert layout.names == ["step", "a", "b", "odd", *(f"y_{i}" for i in range(6))]
    first, second = layout.rows(7, np.array([[1.0, 2.0], [3.0, 4.0]]), outputs)
    assert list(first.values()) == [7, 1, 2, 0.5, *range(6)]
    assert list(second.values()) == [8, 3, 4, 1.5, *range(6, 12)]


def test_levels_are_found_whatever_was_asked_for():
    assert levels_of({"quantiles": "0.1,0.4,0.8,0.9"}) == (0.1, 0.4, 0.8, 0.9)
    assert levels_of({"scale": 1.0}) == ()
    assert Forecast.of((0.1, 0.4, 0.8, 0.9)) == Forecast(0, 1, 3)
    assert Forecast.of((0.7,)) == Forecast(0, 0, 0)


def test_the_board_shows_the_newest_and_the_oddest():
    board = _Board("series", 20, ["step", "anomaly"])
    for start in (1, 11):
        board.hear([{"step": n, "anomaly": float(n % 7)} for n in range(start, start + 10)])
    title, newest, _, oddest = board.drawn().renderables
    assert "20 of 20" in title.plain
    assert list(newest.columns[0].cells) == ["16", "17", "18", "19", "20"]
    assert list(oddest.columns[1].cells) == ["6", "6", "6", "5", "5"]


def test_pictures_of_short_and_of_long_series(tmp_path):
    from foretoken.cli.plot import Streamed, plot_stream

    for T in (1, 30, 3000):
        streamed = Streamed((0.1, 0.5, 0.9), 5)
        quantiles = RNG.normal(size=(T, 3, 8)).cumsum(axis=1)
        streamed.add(RNG.normal(size=T), {"quantiles": quantiles, "anomaly": RNG.random(T) * 6})
        path = Path(tmp_path / f"{T}.png")
        plot_stream(path, streamed, "a series")
        assert path.stat().st_size > 10_000
