"""``foretoken predict``, as a user calls it."""

from __future__ import annotations

import csv
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

from foretoken import TabularClassifier
from foretoken.cli import predict, tables
from foretoken.cli.output import guarded
from foretoken.frames import frame_of
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled, family
from foretoken.models.tabpfn.pipelines import MOST_MEMBERS
from foretoken.server.doors.arrow import from_csv
from foretoken.server.registry.registry import Registry
from tests.serving import serving

NAMES = ["id", "size", "count", "colour", "new", "kind"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, published):
    folder = tmp_path_factory.mktemp("predict")
    with Registry.open(folder) as registry:
        registry.register("tiny", published("tabpfn"))
    return folder


def _rows(count, seed):
    rng = np.random.default_rng(seed)
    for i in range(count):
        size = rng.normal()
        cells = [f"{size:.6g}", rng.integers(9), rng.choice(["red", "blue"]), rng.random() < 0.5]
        if i == 3:
            cells[0], cells[2] = "", "NaN"
        yield [f"r{i}", *map(str, cells), "big" if size > 0 else "small"]


def _write(path, rows, names=NAMES):
    with path.open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([names, *rows])
    return path


@pytest.fixture
def train(tmp_path):
    return _write(tmp_path / "train.csv", _rows(40, 0))


@pytest.fixture
def test(tmp_path):
    return _write(tmp_path / "test.csv", [row[:-1] for row in _rows(9, 1)], NAMES[:-1])


@pytest.fixture
def call(data_dir, capsys):
    """Run the command on the data dir; exit status, stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("predict")(predict.predict)

    def run(*words):
        with pytest.raises(SystemExit) as ended, guarded():
            app([*map(str, words), "--data-dir", str(data_dir)])
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def told(call, train, test):
    """Run it on the two files with ``--json``; what it says."""

    def run(*words, train=train, test=test):
        files = ["--train", train, "--target", "kind", "--test", test, "--leave-out", "id"]
        status, out, err = call("tiny", *files, "--json", *words)
        assert status == 0, err
        return json.loads(out)

    return run


@pytest.fixture
def refused(call, train, test):
    """Run it on files that must be refused in one line; that line."""

    def run(*words, train=train, test=test, target="kind"):
        files = ["--train", train, "--target", target, "--test", test, "--leave-out", "id"]
        status, out, err = call("tiny", *files, *words)
        assert (status, out) == (2, "")
        return err.splitlines()[-1]

    return run


def test_a_file_is_classified_as_in_a_notebook(told, train, test, data_dir):
    rows = told("--uncertainty")
    assert list(rows[0]) == ["prediction", "p_big", "p_small", "uncertainty"]
    names = NAMES[1:-1]
    (known,) = tables.open_table(train).chunks(40, [*names, "kind"])
    (asked,) = tables.open_table(test).chunks(9, names)
    labels = known.pop("kind")
    model = TabularClassifier("tiny", data_dir=data_dir).fit(known, labels)
    np.testing.assert_allclose(
        [[row["p_big"], row["p_small"]] for row in rows], model.predict_proba(asked), atol=1e-6
    )
    assert [row["prediction"] for row in rows] == model.predict(asked).tolist()
    unsure = [row["uncertainty"] for row in rows]
    np.testing.assert_allclose(unsure, model.predict_uncertainty(asked), atol=1e-6)


def test_people_hear_of_bytes_and_context_and_see_a_table(call, train, test):
    files = ["--train", train, "--target", "kind", "--test", test, "--leave-out", "id"]
    status, out, err = call("tiny", *files, "--rows", 2)
    assert status == 0
    assert "2 of 9 rows, by tiny:1" in out
    assert "40 rows and 4 columns will take" in err
    context = err.split("Kept as ")[1].split(",")[0]
    known = ["--context", context, "--test", test, "--leave-out", "id"]
    status, again, err = call("tiny", *known, "--rows", 2)
    assert (status, again) == (0, out)
    assert "will take" not in err


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_answers_are_written_whole(told, tmp_path, suffix, monkeypatch):
    expected = told()
    monkeypatch.setattr(predict, "ROWS", 4)  # more than one chunk
    out = tmp_path / f"out.{suffix}"
    said = told("--out", out)
    assert (said["rows"], said["out"]) == (9, str(out))
    if suffix == "csv":
        with out.open() as f:
            found = list(csv.DictReader(f))
    else:
        found = pq.read_table(out).to_pylist()
    assert [row["prediction"] for row in found] == [row["prediction"] for row in expected]
    for name in ("p_big", "p_small"):
        values = [float(row[name]) for row in found]
        np.testing.assert_allclose(values, [row[name] for row in expected], atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [out.name, "test.csv", "train.csv"]
    )


def test_parquet_is_read_as_csv_is(told, train, test, tmp_path):
    import pyarrow as pa

    other = {}
    for path in (train, test):
        source = tables.open_table(path)
        (columns,) = source.chunks(100, source.names)
        other[path] = path.with_suffix(".parquet")
        pq.write_table(pa.table(dict(columns)), other[path])
    assert told(train=other[train], test=other[test]) == told()


def test_options_reach_the_model(told, tmp_path):
    words = ([], ["--members", 1], ["--seed", 5], ["--categorical", "count"])
    contexts = {told("--out", tmp_path / "out.csv", *more)["context"] for more in words}
    assert len(contexts) == len(words)
    assert told("--members", 1) != told()


def test_a_column_is_read_as_it_was_learned_from(told, tmp_path):
    rows = [["01", "big"], ["a", "small"]] * 10
    train = _write(tmp_path / "a.csv", rows, ["code", "kind"])
    test = _write(tmp_path / "b.csv", [["01"], ["a"]], ["code"])
    digits = _write(tmp_path / "c.csv", [["01"]], ["code"])
    alone, first = told(train=train, test=digits)[0], told(train=train, test=test)[0]
    assert alone["p_big"] == pytest.approx(first["p_big"], abs=1e-6)


def test_whole_numbers_may_go_on_with_fractions(told, tmp_path):
    rows = [[str(i), "big" if i > 9 else "small"] for i in range(20)]
    train = _write(tmp_path / "a.csv", rows, ["count", "kind"])
    answers = told(train=train, test=_write(tmp_path / "b.csv", [["4.0"], ["4.5"]], ["count"]))
    whole = told(train=train, test=_write(tmp_path / "c.csv", [["4"]], ["count"]))
    assert answers[0]["p_big"] == pytest.approx(whole[0]["p_big"], abs=1e-6)


@pytest.mark.parametrize(
    "text", ["a\n1\n\n3\n", "a\r\n1\r\n\r\n\r\n3\r\n", "a\n1\n3\n\n", "a\n\n1"]
)
def test_a_blank_line_of_one_column_is_a_missing_value_as_on_the_wire(tmp_path, text):
    path = tmp_path / "one.csv"
    path.write_bytes(text.encode())
    source = tables.open_table(path)
    ((_, wire),) = from_csv(text.encode(), lambda _rows, _columns: None).items()
    ((_, ours),) = next(source.chunks(10, ["a"])).items()
    np.testing.assert_array_equal(ours, wire)
    assert source.rows == len(wire) > np.isnan(wire).sum() > 0
    assert tables.open_table(_write(path, [["1", "x"], [], ["2", "y"]], ["a", "b"])).rows == 2


def test_numbers_that_parquet_says_are_categories_have_no_order(told, tmp_path):
    rng = np.random.default_rng(5)
    codes = rng.choice([10, 2000, 30], 40)
    table = pa.table(
        {
            "code": pa.array(codes).dictionary_encode(),
            "size": rng.normal(size=40),
            "colour": pa.array(["red", "blue"] * 20).dictionary_encode(),
            "kind": np.where(codes == 30, "mid", "end"),
        }
    )
    plain = table.set_column(0, "code", pa.array(codes))
    files = {}
    for name, each in {"coded": table, "plain": plain}.items():
        files[name] = tmp_path / f"{name}.parquet"
        pq.write_table(each, files[name])
    asked = tmp_path / "asked.parquet"
    pq.write_table(plain.drop_columns(["kind"])[:9], asked)
    assert tables.open_table(files["coded"]).categorical == {"code", "colour"}
    assert tables.open_table(files["plain"]).categorical == {"colour"}

    def probabilities(name, *words):
        rows = told(*words, train=files[name], test=asked)
        return [row["p_mid"] for row in rows]

    said = probabilities("coded")
    assert said == pytest.approx(probabilities("plain", "--categorical", "code"), abs=1e-6)
    assert said != pytest.approx(probabilities("plain"), abs=1e-3)


def test_the_index_of_a_frame_in_parquet_is_no_column(told, train, test, tmp_path):
    import pandas as pd

    paths = [tmp_path / "train.parquet", tmp_path / "test.parquet"]
    for path, (source, index) in zip(paths, [(train, None), (test, "key")], strict=True):
        rows = pd.read_csv(source)
        rows.index = pd.Index(rows.index[::-1], name=index)
        rows.to_parquet(path)
    assert tables.open_table(paths[0]).names == tuple(NAMES)
    assert tables.open_table(paths[1]).names == tuple(NAMES[:-1])
    assert told(train=paths[0], test=paths[1]) == told()


def test_the_target_may_stand_in_the_test_file(told, tmp_path, test):
    with_target = _write(tmp_path / "b.csv", _rows(9, 1))
    assert told(test=with_target) == told()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[4].__setitem__(1, "tall"), "test.csv, line 6: 'tall' in column 'size'"),
        (lambda rows: rows[4].__setitem__(1, "inf"), "line 6: 'inf' in column 'size'"),
        (lambda rows: rows[2].pop(), "test.csv, line 4: 4 cells, but 5 columns"),
        (lambda rows: rows.clear(), "test.csv has no rows"),
    ],
)
def test_a_bad_cell_is_named(refused, tmp_path, change, said):
    rows = [row[:-1] for row in _rows(9, 1)]
    change(rows)
    assert said in refused(test=_write(tmp_path / "test.csv", rows, NAMES[:-1]))


def test_columns_that_differ_are_named(refused, tmp_path):
    rows = [row[:-1] for row in _rows(9, 1)]
    renamed = _write(tmp_path / "b.csv", rows, ["id", "size", "number", "colour", "new"])
    assert "lacks the columns ['count']" in refused(test=renamed)
    more = _write(tmp_path / "c.csv", [[*row, "1"] for row in rows], [*NAMES[:-1], "age"])
    assert "--leave-out age" in refused(test=more)
    twice = _write(tmp_path / "d.csv", rows, ["id", "size", "size", "colour", "new"])
    assert "same name: ['size']" in refused(test=twice)


def test_what_cannot_be_learned_from_is_refused(refused, tmp_path):
    assert "has no column 'sort'" in refused(target="sort")
    rows = list(_rows(40, 0))
    one = _write(tmp_path / "a.csv", [[*row[:-1], "big"] for row in rows])
    assert "a.csv: the target holds one class" in refused(train=one)
    rows[7][-1] = ""
    assert "empty in row 8" in refused(train=_write(tmp_path / "b.csv", rows))
    assert "members" in refused("--members", 99)
    assert "'weight'" in refused("--categorical", "weight")
    assert "['code']" in refused("--text", "count,code")
    assert "no file" in refused(train=tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    assert "not a Parquet file" in refused(train=tmp_path / "bad.parquet")
    (tmp_path / "semicolons.csv").write_text("size;kind\n1;big\n")
    assert "write it with commas" in refused(train=tmp_path / "semicolons.csv")
    assert ".csv, .parquet" in refused("--out", tmp_path / "out.txt")


def test_an_infinite_number_is_no_word(refused, tmp_path, call, test):
    rows = list(_rows(40, 0))
    rows[7][1] = "-inf"
    train = _write(tmp_path / "infinite.csv", rows)
    said = refused(train=train)
    assert "infinite.csv, line 9: '-inf' in column 'size' is not a finite number" in said
    assert "--text size" in said
    files = ["--train", train, "--target", "kind", "--test", test, "--leave-out", "id"]
    assert call("tiny", *files, "--text", "size")[0] == 0
    rows[8][1] = "tall"  # a column of words may hold this one
    words = _write(tmp_path / "words.csv", rows)
    assert call("tiny", "--train", words, *files[2:])[0] == 0


def test_a_column_that_cannot_be_left_out_is_told(call, train, test):
    files = ["--train", train, "--target", "kind", "--test", test]
    status, _, err = call("tiny", *files, "--leave-out", "id,code")
    assert (status, "--leave-out names ['code']" in err) == (0, True)


def test_csv_is_read_as_the_parquet_that_was_learned_from(call, tmp_path):
    rows = _rows(40, 0)
    columns = {"zip": [f"{i % 7}" for i in range(40)], "kind": [row[-1] for row in rows]}
    columns["age"] = [float(i) for i in range(40)]
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    test = _write(tmp_path / "zips.csv", [["3", "4"], ["5", "6"]], ["zip", "age"])
    files = ["--train", tmp_path / "train.parquet", "--target", "kind"]
    status, out, err = call("tiny", *files, "--test", test, "--json")
    assert (status, len(json.loads(out))) == (0, 2), err
    wrong = _write(tmp_path / "wrong.csv", [["3", "old"]], ["zip", "age"])
    status, _, err = call("tiny", *files, "--test", wrong)
    assert status == 2
    assert "wrong.csv, line 2: 'old' in column 'age' is not a finite number" in err


def test_train_or_context(call, test):
    status, _, err = call("tiny", "--test", test)
    assert (status, "give --train and --target, or --context" in err) == (2, True)
    context = ["--context", "ctx-" + "0" * 64, "--test", test]
    for words, said in (
        (context, "no context"),
        ([*context, "--train", test, "--target", "kind"], "not both"),
        ([*context, "--target", "kind"], "--target goes with --train"),
        ([*context, "--members", 2], "leave out --members"),
        ([*context, "--seed", 3], "leave out --members"),
        ([*context, "--categorical", "count"], "leave out --members"),
        (["--train", test, "--test", test], "--target is missing"),
    ):
        status, _, err = call("tiny", *words)
        assert (status, err.startswith("error: "), said in err) == (2, True, True)


def test_a_context_knows_which_columns_were_text(call, train, test):
    files = ["--train", train, "--target", "kind", "--leave-out", "id"]
    asked = ["--test", test, "--json"]
    status, fitted, err = call("tiny", *files, *asked, "--text", "count")
    context = err.split("Kept as ")[1].split(",")[0]
    assert status == 0
    again = call("tiny", "--context", context, *asked, "--leave-out", "id")
    assert again[:2] == (0, fitted)


def test_a_context_belongs_to_its_model(call, train, test):
    files = ["--train", train, "--target", "kind", "--test", test, "--leave-out", "id"]
    _, _, err = call("tiny", *files)
    context = err.split("Kept as ")[1].split(",")[0]
    status, _, err = call("other", "--context", context, "--test", test, "--leave-out", "id")
    assert (status, "was made by tiny:1, not by other" in err) == (2, True)


def test_a_server_answers_alike(told, train, test, tmp_path, published):
    with Registry.open(tmp_path / "served") as registry:
        registry.register("tiny", published("tabpfn"))
    with serving(data_dir=tmp_path / "served") as server:
        command = [*_COMMAND, "--server", server.address, "predict", "tiny", "--json"]
        command += ["--train", train, "--target", "kind", "--test", test, "--leave-out", "id"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for there, here in zip(json.loads(done.stdout), told(), strict=True):
        assert there["prediction"] == here["prediction"]
        assert there["p_big"] == pytest.approx(here["p_big"], abs=1e-5)


_COMMAND = (sys.executable, "-P", "-c", "from foretoken.cli import main; main()")


def test_ctrl_c_leaves_no_partial_file(data_dir, train, tmp_path):
    rows = [row[:-1] for row in _rows(3000, 1)]
    test = _write(tmp_path / "long.csv", rows * 40, NAMES[:-1])
    out = tmp_path / "out.csv"
    command = [*_COMMAND, "predict", "tiny", "--train", train, "--target", "kind", "--test", test]
    command += ["--leave-out", "id", "--out", out, "--data-dir", data_dir]
    running = subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        end = time.monotonic() + 120
        while not list(tmp_path.glob(".out.*")):
            assert running.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130, err
    assert not list(tmp_path.glob("*out*"))


def test_kinds_of_csv(tmp_path):
    path = tmp_path / "kinds.csv"
    path.write_text("a,b,c,d,e\n1,1.5,true,x,\n2,,False,7,nan\n\n")
    source = tables.open_table(path)
    assert source.rows == 2
    (columns,) = source.chunks(10, source.names)
    assert {name: values.dtype.kind for name, values in columns.items()} == dict(
        zip("abcde", "ifbOO", strict=True)
    )
    assert frame_of(columns).columns["d"].tolist() == ["x", "7"]


def test_help_tells_how_many_members_there_are_by_default():
    config = Artefact.read(bundled()["tabpfn"]).config
    default = family("tabpfn").predictor(config, {}).options({})["members"]
    said = f"1 to {MOST_MEMBERS}; by default as many as the model has, {default} of tabpfn"
    assert said in predict.MEMBERS
