"""Tables of every library become the same columns."""

from __future__ import annotations

import datetime
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from foretoken.errors import InvalidInput, InvalidType
from foretoken.frames import frame_of, is_frame

NAN = float("nan")
TABLE = {
    "size": [1.5, None, -3.0],
    "count": [1, 2, 3],
    "some": [1, None, 3],
    "yes": [True, False, True],
    "maybe": [True, None, False],
    "colour": ["red", None, "blue"],
}
EXPECTED = {
    "size": np.array([1.5, NAN, -3.0]),
    "count": np.array([1, 2, 3]),
    "some": np.array([1.0, NAN, 3.0]),
    "yes": np.array([True, False, True]),
    "maybe": np.array([1.0, NAN, 0.0]),
    "colour": np.array(["red", None, "blue"], object),
}


class Streamed:
    """What tells nothing of itself but how to read it as an Arrow stream."""

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.table(TABLE).__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "given",
    [
        TABLE,
        pd.DataFrame(TABLE),
        pd.DataFrame(TABLE).convert_dtypes(),
        pd.DataFrame(TABLE).convert_dtypes(dtype_backend="pyarrow"),
        pl.DataFrame(TABLE),
        pa.table(TABLE),
        pa.RecordBatch.from_pydict(TABLE),
        Streamed(),
    ],
    ids=["dict", "pandas", "nullable", "arrow-backed", "polars", "table", "batch", "stream"],
)
def test_libraries_agree(given):
    assert is_frame(given)
    frame = frame_of(given)
    assert (frame.named, frame.rows, frame.names) == (True, 3, tuple(TABLE))
    assert "maybe" in frame.categorical
    for name, expected in EXPECTED.items():
        found = frame.columns[name]
        numbers = expected.dtype.kind != "O"
        kinds = "if" if name == "count" else expected.dtype.kind
        assert found.dtype.kind in kinds, name
        if numbers:
            np.testing.assert_array_equal(found.astype(float), expected.astype(float))
        else:
            assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("column", "values", "categorical"),
    [
        (pd.Categorical(["b", None, "a"]), ["b", None, "a"], False),
        (pd.Categorical([3, 1, 3]), [3, 1, 3], True),
        (pd.array(["b", None, "a"], dtype="string"), ["b", None, "a"], False),
        (pd.array([1.5, None, 2.0], dtype="Float64"), [1.5, NAN, 2.0], False),
        (pd.arrays.SparseArray([0.0, 0.0, 1.0]), [0.0, 0.0, 1.0], False),
        (np.array([1, "nan", None], object)[[0, 2, 2]], [1.0, NAN, NAN], False),
    ],
)
def test_dtypes_of_pandas(column, values, categorical):
    frame = frame_of(pd.DataFrame({"a": column}))
    np.testing.assert_equal(frame.columns["a"].tolist(), values)
    assert frame.categorical == ({"a"} if categorical else set())


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["a", "b"])])
def test_categories_of_polars(dtype):
    series = pl.Series("a", ["b", None, "a"], dtype=dtype)
    assert frame_of(pl.DataFrame([series])).columns["a"].tolist() == ["b", None, "a"]


def test_dictionaries_of_arrow_keep_what_is_missing():
    coded = pa.array(["b", None, "a"]).dictionary_encode()
    for table in (pa.table({"a": coded}), pa.RecordBatch.from_arrays([coded], ["a"])):
        assert frame_of(table).columns["a"].tolist() == ["b", None, "a"]
    numbers = frame_of(pa.table({"a": pa.array([7, None, 9]).dictionary_encode()}))
    np.testing.assert_equal(numbers.columns["a"].tolist(), [7.0, NAN, 9.0])
    assert numbers.categorical == {"a"}


def test_arrays_have_positions_for_names():
    frame = frame_of(np.array([[1, 2], [3, 4]], np.int8))
    assert (frame.named, frame.names, frame.rows) == (False, ("x0", "x1"), 2)
    assert frame.columns["x1"].dtype == np.int64
    assert frame_of(pd.DataFrame([[1, 2]])).names == ("x0", "x1")
    assert not frame_of(pd.DataFrame([[1, 2]])).named


def test_rows_of_mixed_kinds_keep_their_columns_kinds():
    frame = frame_of([[1, "a", True], [2.5, None, False]])
    assert frame.columns["x0"].tolist() == [1.0, 2.5]
    assert frame.columns["x1"].tolist() == ["a", None]
    assert frame.columns["x2"].dtype == np.bool_


def test_masked_and_structured_arrays():
    masked = np.ma.array([[1.0, 2.0]], mask=[[False, True]])
    np.testing.assert_equal(frame_of(masked).columns["x1"].tolist(), [None])
    structured = np.array([(1.5, "a")], [("size", "f4"), ("name", "U1")])
    assert frame_of(structured).names == ("size", "name")


@pytest.mark.parametrize("values", [[None, None], np.array([NAN, NAN]), pl.Series([None, None])])
def test_a_column_without_values_is_of_no_kind(values):
    assert frame_of({"a": values}).columns["a"].tolist() == [None, None]


def test_decimals_and_small_floats_are_numbers():
    frame = frame_of({"a": [Decimal("1.5"), None], "b": np.array([1, 2], np.float16)})
    np.testing.assert_equal(frame.columns["a"].tolist(), [1.5, NAN])
    assert frame.columns["b"].dtype == np.float64


def test_parts_are_consecutive_rows():
    frame = frame_of({"a": np.arange(7), "b": np.arange(7.0)})
    parts = list(frame.parts(3))
    assert [len(part["a"]) for part in parts] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([part["b"] for part in parts]), np.arange(7.0))


DAY = datetime.date(2020, 2, 3)


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"when": np.array(["2020-01-01"], "M8[D]")}, InvalidInput, "'when'.*days since"),
        ({"when": [None, DAY]}, InvalidInput, "'when'.*date at row 1.*days since"),
        (pd.DataFrame({"when": pd.to_datetime(["2020-01-01"])}), InvalidInput, "'when'.*days"),
        (pd.DataFrame({"w": pd.period_range("2020", periods=2)}), InvalidInput, "Period at row 0"),
        (pl.DataFrame({"when": [DAY]}), InvalidInput, "'when'.*days since"),
        ({"a": [1.0, np.inf]}, InvalidInput, "'a', row 1"),
        ({"a": np.array([1j])}, InvalidInput, "Complex data not supported"),
        ({"a": [1.0, {"b": 2}]}, InvalidType, "string or a number.*dict: column 'a', row 1"),
        ({"a": [1, "b"]}, InvalidInput, "'a'"),
        ({"a": [1, 2], "b": [1]}, InvalidInput, "one length"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), InvalidInput, r"repeated: \['a'\]"),
        (pd.DataFrame([[1, 2]], columns=["a", 1]), InvalidType, "not, such as 1"),
        ([1, 2], InvalidType, r"shape \(2,\)"),
        ([[1], [1, 2]], InvalidInput, "one length"),
        ("table.csv", InvalidType, "a table is needed"),
    ],
)
def test_what_is_no_table_is_refused_with_a_cure(given, kind, said):
    with pytest.raises(kind, match=said):
        frame_of(given)


def test_no_library_is_imported_for_an_array():
    code = "import sys, numpy as np, foretoken.frames as f; f.frame_of(np.ones((2, 2)));"
    code += "assert {'pandas', 'polars', 'pyarrow', 'sklearn'}.isdisjoint(sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
