"""Tables on the wire: three forms of one table, and what is refused before it takes memory."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from foretoken.client.tables import columns_of, table_message
from foretoken.client.tabular import training_message
from foretoken.errors import InvalidInput
from foretoken.proto import tabular as wire
from foretoken.server.doors import arrow_header
from foretoken.server.doors.arrow import from_csv
from foretoken.server.doors.tables import Tables
from foretoken.server.settings import load_settings

COLUMNS = {
    "real": [0.5, float("nan"), -2.0],
    "whole": [3, -1, 7],
    "flag": [True, False, True],
    "word": ["b", None, "b"],
}
CSV = b"real,whole,flag,word\n0.5,3,true,b\n,-1,false,\n-2,7,true,b\n"


def arrow(columns, options=None):
    table = pa.table(columns)
    out = io.BytesIO()
    with ipc.new_stream(out, table.schema, options=options) as writer:
        writer.write_table(table)
    return out.getvalue()


def reader(**settings):
    return Tables(load_settings(**settings))


def typed(values):
    """A column by the kind of its values."""
    return pa.array(values, from_pandas=True)


def raw(name, **values):
    return wire.Column(name=name, **values)


def of(*columns):
    return wire.Table(columns=wire.Columns(columns=columns))


@pytest.mark.parametrize(
    "table",
    [
        table_message(COLUMNS),
        table_message(arrow({name: typed(values) for name, values in COLUMNS.items()})),
        table_message(CSV),
        table_message(b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n")),
    ],
    ids=["columns", "arrow", "csv", "csv of Windows"],
)
def test_one_table_in_three_forms(table):
    found = reader().columns(table, "it")
    assert [column.dtype for column in found.values()] == ["f8", "i8", "?", "O"]
    for name, expected in columns_of(COLUMNS).items():
        np.testing.assert_array_equal(found[name], expected)


def test_numbers_are_not_copied():
    found = reader().columns(table_message({"a": [1.0, 2.0]}), "it")
    assert not found["a"].flags.owndata


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pa.array(["u", None, "v"]).dictionary_encode(), ["u", None, "v"]),
        (pa.array(["u"], pa.large_string()), ["u"]),
        (pa.array([1, None], pa.int8()), [1.0, np.nan]),
        (pa.array([1, 2], pa.uint64()), [1, 2]),
        (pa.array([True, None]), [1.0, np.nan]),
        (pa.array(np.array([0.5, 2], np.float16)), [0.5, 2.0]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_arrow_s_types(given, expected):
    found = reader().columns(wire.Table(arrow=arrow({"a": given})), "it")["a"]
    if found.dtype == object:
        assert found.tolist() == expected
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a\n1\n2\n", [1, 2]),
        (b"a\n 1\n 2.5\n", [1.0, 2.5]),
        (b"a\nTRUE\nFalse\n", [True, False]),
        (b"a\n1\ntrue\n", ["1", "true"]),
        (b"a\n2020-01-01\nx\n", ["2020-01-01", "x"]),
        (b'a\n"x\ny"\nz\n', ["x\ny", "z"]),
        (b"a\nNA\nnan\n", ["NA", None]),
        (b"a,b\n,1\n", [None]),
        (b'a,b\n1,"q ""r"""\n', [1]),
    ],
)
def test_csv_s_columns_are_what_all_of_it_says(text, expected):
    assert reader().columns(wire.Table(csv=text), "it")["a"].tolist() == expected


def test_an_empty_line_of_one_column_is_a_row_without_a_value():
    (column,) = from_csv(b"a\n1\n\n3\n", lambda _rows, _columns: None).values()
    np.testing.assert_array_equal(column, [1.0, np.nan, 3.0])


COMPRESSED = ipc.IpcWriteOptions(compression="zstd") if pa.Codec.is_available("zstd") else None


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (wire.Table(), "it is empty; give columns"),
        (of(), "no columns"),
        (of(raw("a", doubles=b"")), "no rows"),
        (wire.Table(csv=b"a,b\n"), "no rows"),
        (wire.Table(arrow=arrow({"a": pa.array([], pa.float64())})), "no rows"),
        (of(raw("a")), "'a' has no values"),
        (of(raw("a", doubles=b"123")), "3 bytes of doubles, 8 bytes each"),
        (of(raw("a", doubles=bytes(8)), raw("b", doubles=bytes(16))), "'a': 1, 'b': 2"),
        (of(raw("a", doubles=bytes(8)), raw("a", doubles=bytes(8))), "the same name: ['a']"),
        (of(raw("a", booleans=b"\0\2")), "row 1 is 2; give 0 or 1"),
        (
            of(raw("a", strings=wire.Strings(distinct=["x"], codes=b"\1\0\0\0"))),
            "the code of row 0 is 1; there are 1",
        ),
        (wire.Table(arrow=b""), "Arrow stream is damaged"),
        (wire.Table(arrow=b"not arrow at all"), "no Arrow stream"),
        (wire.Table(arrow=arrow({"a": [1.0] * 99})[:-200]), "ends within a message"),
        (wire.Table(arrow=arrow({"a": [[1.0]]})), "list<item: double>; make a column of each"),
        (wire.Table(arrow=arrow({"a": pa.array([1], pa.date32())})), "a number, such as days"),
        (wire.Table(arrow=arrow({"a": pa.array([1]).dictionary_encode()})), "of its values"),
        (wire.Table(arrow=arrow({"a": pa.array([2**63], pa.uint64())})), "beyond 63 bits"),
        (wire.Table(arrow=arrow({"a": [1.0] * 999}, COMPRESSED)), "compressed buffers"),
        (
            wire.Table(arrow=arrow(pa.table([[1], [2]], ["a", "a"]))),
            "the same name: ['a']",
        ),
        (wire.Table(csv=b""), "the CSV is empty"),
        (wire.Table(csv=b"a,b\n1,2\n3\n"), "as many fields"),
        (wire.Table(csv=b"a,a\n1,2\n"), "the same name"),
        (wire.Table(csv=b"a\n\xff\xfe\n"), "UTF-8"),
        (wire.Table(csv=b"\xff\xfea\n1\n"), "first line"),
    ],
)
def test_what_is_no_table(table, told):
    with pytest.raises(InvalidInput) as caught:
        reader().columns(table, "the test table")
    assert str(caught.value).startswith("the test table")
    assert told in str(caught.value)


def _announcing(rows, columns):
    """A small Arrow stream whose header announces many rows of ``columns`` columns."""
    data = bytearray(arrow({f"c{i}": pa.nulls(3) for i in range(columns)}))
    length = (3).to_bytes(8, "little")
    at = data.rindex(length, 0, len(data) - 8)
    while at > 0:  # every count of rows in the batch's header
        data[at : at + 8] = rows.to_bytes(8, "little")
        at = data.rfind(length)
    return bytes(data)


def test_shapes_that_are_announced_are_refused_before_they_take_memory(monkeypatch):
    said = _announcing(10**6, 10_000)
    assert len(said) < 4 << 20
    monkeypatch.setattr(ipc, "open_stream", None)  # what would read it
    with pytest.raises(InvalidInput, match=r"1000000 rows by 10000 .* \(table_cells\)"):
        reader(table_columns=10_000).columns(wire.Table(arrow=said), "it")
    with pytest.raises(InvalidInput, match=r"10000 columns .* 4096 \(table_columns\)"):
        reader().columns(wire.Table(arrow=said), "it")


@pytest.mark.parametrize(
    "table",
    [
        table_message({"a": [1.0] * 4, "b": [1] * 4}),
        wire.Table(arrow=arrow({"a": [1.0] * 4, "b": [1] * 4})),
        wire.Table(csv=b"a,b\n" + b"1,2\n" * 4),
    ],
)
def test_limits_of_a_table(table):
    assert len(reader(table_cells=10, table_columns=2).columns(table, "it")) == 2
    with pytest.raises(InvalidInput, match="table_cells"):
        reader(table_cells=7).columns(table, "it")
    with pytest.raises(InvalidInput, match="table_columns"):
        reader(table_columns=1).columns(table, "it")


@pytest.mark.parametrize("names", [b"a," * 300_000, b'"\n",' + b"a," * 300_000, b",\n" * 300_000])
def test_names_of_csv_are_counted_before_they_are_compared(names):
    began = time.monotonic()
    with pytest.raises(InvalidInput, match=r"table_columns|the same name"):
        reader().columns(wire.Table(csv=names + b"\n1\n"), "it")
    assert time.monotonic() - began < 2


def test_a_dictionary_s_entries_count():
    many = pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([str(i) for i in range(50)]))
    with pytest.raises(InvalidInput, match="table_cells"):
        reader(table_cells=20).columns(wire.Table(arrow=arrow({"a": many})), "it")


def test_text_that_would_take_more_memory_than_the_message():
    long = "x" * 2000
    table = table_message({name: [long] * 300 + ["y", None] for name in "ab"})
    assert table.ByteSize() < 10_000
    with pytest.raises(InvalidInput, match=r"1200002 characters of text.*\(message_bytes\)"):
        reader(message_bytes=1 << 20).columns(table, "it")
    assert reader(message_bytes=1 << 21).columns(table, "it")["a"][0] == long
    labels = table_message({"": [long] * 600}).columns.columns[0]
    training = wire.Training(table=table_message({"a": [0.5] * 600}), labels=labels)
    with pytest.raises(InvalidInput, match="the target has 1200000 characters"):
        reader(message_bytes=1 << 20).training(training)


def test_too_many_batches(monkeypatch):
    batch = pa.record_batch({"a": [1]})
    out = io.BytesIO()
    with ipc.new_stream(out, batch.schema) as writer:
        for _ in range(20):
            writer.write_batch(batch)
    assert arrow_header.announced(out.getvalue()).rows == 20
    monkeypatch.setattr(arrow_header, "MESSAGES", 10)
    with pytest.raises(InvalidInput, match="more than 10 batches"):
        arrow_header.announced(out.getvalue())


def test_damaged_streams_are_refused_or_read_as_some_table():
    """Any bytes: a table of bounded size, or InvalidInput; nothing else."""
    whole = arrow(
        {
            "a": [1.0, None] * 20,
            "b": ["x", "yy"] * 20,
            "c": pa.array(["p", "q"] * 20).dictionary_encode(),
        }
    )
    rng, refused = random.Random(7), 0
    tables = reader(table_cells=10_000)
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at] = rng.choice((0, 1, 0x7F, 0xFF, data[at] ^ (1 << rng.randrange(8))))
        try:
            found = tables.columns(wire.Table(arrow=bytes(data[: rng.randint(8, len(data))])), "it")
            assert sum(len(column) for column in found.values()) <= 30_000
        except InvalidInput:
            refused += 1
    assert refused > 500


# -- labelled rows --------------------------------------------------------------------------------


def test_labels_beside_or_within_the_table():
    beside = reader().training(training_message({"a": [1, 2]}, ["x", "y"], ["a"], {"members": 2}))
    within = reader().training(
        training_message({"a": [1, 2], "t": ["x", "y"]}, "t", ["a"], {"members": 2})
    )
    for request in (beside, within):
        assert request.target.tolist() == ["x", "y"]
        assert list(request.train) == ["a"]
        assert (request.categorical, request.options) == ({"a"}, {"members": 2})


@pytest.mark.parametrize(
    ("training", "told"),
    [
        (wire.Training(table=table_message({"a": [1]})), "no labels"),
        (training_message({"a": [1]}, "b", (), None), "no target column 'b'; its columns are a"),
        (training_message({"a": [1]}, "a", (), None), "the target alone"),
        (training_message({"a": [1, 2]}, [1], (), None), "one label for each of the 2"),
        (training_message({"a": [1], "t": [0.5]}, "t", (), None), "real numbers; give a class"),
        (
            training_message({"a": [1, 2], "t": ["x", None]}, "t", (), None),
            "the target is missing in row 1",
        ),
        (training_message({"a": [1, 2], "t": [1, None]}, "t", (), None), "missing in row 1"),
        (training_message({"a": [1]}, [1], ["b"], None), "there are not: ['b']"),
    ],
)
def test_what_are_no_labels(training, told):
    with pytest.raises(InvalidInput) as caught:
        reader().training(training)
    assert told in str(caught.value)


def test_options_need_a_value():
    training = training_message({"a": [1]}, [1], (), None)
    training.options["members"].SetInParent()
    with pytest.raises(InvalidInput, match="'members' has no value"):
        reader().training(training)


def test_pyarrow_waits_until_it_is_needed():
    code = "import sys, foretoken.server.processes.serving; print('pyarrow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "False"
