"""Columns of tables, and texts, from whatever callers bring."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

from foretoken.arrays import column, texts
from foretoken.errors import InvalidInput, InvalidType

NAN = float("nan")


@pytest.mark.parametrize(
    ("given", "dtype", "expected"),
    [
        ([1.5, 2], "float64", [1.5, 2.0]),
        ([1, 2], "int64", [1, 2]),
        ([True, False], "bool", [True, False]),
        ([1, True], "int64", [1, 1]),
        (["a", None], "object", ["a", None]),
        (["a", NAN], "object", ["a", None]),
        ([1, None], "float64", [1.0, NAN]),
        ([True, None], "float64", [1.0, NAN]),
        ([None, NAN], "object", [None, None]),
        ([NAN, NAN], "float64", [NAN, NAN]),
        ([], "int64", []),
        (np.array([1, 2], np.uint8), "int64", [1, 2]),
        (np.array([0.5], np.float16), "float64", [0.5]),
        (np.array(["x", "yz"]), "object", ["x", "yz"]),
        (pd.Series(["x", None]), "object", ["x", None]),
        (pd.Series([1, None], dtype="Int64"), "float64", [1.0, NAN]),
        (pd.Series([True, None], dtype="boolean"), "float64", [1.0, NAN]),
        (pd.Series(["u", "v"], dtype="category"), "object", ["u", "v"]),
    ],
)
def test_what_columns_become(given, dtype, expected):
    made = column("c", given)
    assert made.dtype == dtype
    if dtype == "float64":
        np.testing.assert_array_equal(made, expected)
    else:
        assert made.tolist() == expected


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([1, "a"], "the str 'a' in row 1, where row 0 has the int 1"),
        (["a", 1.0], "the float 1.0 in row 1"),
        ([datetime.date(2020, 1, 1)], "the date datetime.date(2020, 1, 1) in row 0;"),
        (np.array(["2020-01-01"], "M8[D]"), "give dates as numbers"),
        (np.array([1j]), "complex128"),
        (np.array([b"a"]), "numbers, booleans and text"),
        ([[1, 2], [3, 4]], "not of shape (2, 2)"),
        (3.0, "not of shape ()"),
        ("text", "not of shape ()"),
        ([10**400], "that a double can hold"),
        (np.array([2**63], np.uint64), "uint64"),
    ],
)
def test_what_is_no_column(given, told):
    with pytest.raises(InvalidInput) as caught:
        column("age", given)
    assert "'age'" in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        ["a", "zwölf", ""],
        ("a", "zwölf", ""),
        np.array(["a", "zwölf", ""]),
        iter(["a", "zwölf", ""]),
    ],
)
def test_texts_are_kept_as_they_are(given):
    made = texts(given)
    assert made == ("a", "zwölf", "")
    assert isinstance(made, tuple)


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ("text", InvalidType, r"one text as \[text\]"),
        (b"text", InvalidType, r"one text as \[text\]"),
        (7, InvalidType, "a list of str, not a int"),
        (["a", b"b"], InvalidType, "text 1 is the bytes b'b'; texts are str throughout"),
        (["a", None], InvalidType, "text 1 is the NoneType None"),
        (["\ud83d"], InvalidInput, "text 0 is not Unicode: character 0 is a lone surrogate"),
        (["fine", "ab\udc00"], InvalidInput, "text 1 is not Unicode: character 2"),
    ],
)
def test_what_is_no_list_of_texts(given, kind, said):
    with pytest.raises(kind, match=said):
        texts(given)
