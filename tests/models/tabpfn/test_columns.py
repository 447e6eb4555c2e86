"""Columns by name: kinds, categories, what is missing, and refusals that name column and row."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pytest

from foretoken.errors import InvalidInput
from foretoken.models.tabpfn.columns import Schema, learned

NAN = float("nan")


def learn(categorical=(), **columns):
    return learned(columns, frozenset(categorical))


def objects(*values):
    made = np.empty(len(values), object)
    made[:] = values
    return made


MIXED = {
    "age": np.array([1.5, NAN, 3.0]),
    "n": np.array([1, 2, 3], np.int32),
    "yes": np.array([True, False, True]),
    "town": np.array(["b", "a", "b"]),
    "note": objects("x", None, NAN),
    "flag": objects(True, None, False),
    "size": objects(1, None, 2.5),
    "none": objects(None, None, None),
}


def test_every_kind_becomes_numbers():
    schema, table = learned(MIXED, frozenset())
    by_name = dict(zip(table.names, table.matrix.T, strict=True))
    np.testing.assert_array_equal(by_name["age"], [1.5, NAN, 3.0])
    np.testing.assert_array_equal(by_name["n"], [1, 2, 3])
    np.testing.assert_array_equal(by_name["yes"], [1, 0, 1])
    np.testing.assert_array_equal(by_name["town"], [1, 0, 1])
    np.testing.assert_array_equal(by_name["note"], [0, NAN, NAN])
    np.testing.assert_array_equal(by_name["flag"], [1, NAN, 0])
    np.testing.assert_array_equal(by_name["size"], [1, NAN, 2.5])
    assert np.isnan(by_name["none"]).all()
    coded = {name for name, c in zip(table.names, table.categorical, strict=True) if c}
    assert coded == {"yes", "town", "note", "flag", "none"}
    again, notes = schema.matrix(MIXED)
    np.testing.assert_array_equal(again, table.matrix)
    assert notes == ()


def test_a_schema_survives_json_and_the_order_of_columns_is_its_own():
    schema, table = learned(MIXED, frozenset({"n"}))
    heard = Schema.heard(json.loads(json.dumps(schema.said())))
    turned = dict(reversed(MIXED.items()))
    np.testing.assert_array_equal(heard.matrix(turned)[0], table.matrix)
    assert heard.categorical == {"n"}


def test_numbers_called_categorical_become_numbers_of_categories():
    schema, table = learn(["code"], code=np.array([300, 100, 300, 200]))
    np.testing.assert_array_equal(table.matrix[:, 0], [2, 0, 2, 1])
    np.testing.assert_array_equal(schema.matrix({"code": np.array([200.0])})[0], [[1]])


def test_unknown_categories_count_as_missing_and_are_told():
    schema, _ = learn(town=np.array(["a", "b"]), x=np.array([1.0, 2.0]))
    asked = {"town": objects("c", "a", None), "x": np.array([1.0, 9.0, NAN])}
    matrix, notes = schema.matrix(asked)
    np.testing.assert_array_equal(matrix[:, 0], [NAN, 0, NAN])
    assert len(notes) == 1
    assert "'town': 1 of 3 values" in notes[0]


@pytest.mark.parametrize("how", ["learn", "learn categorical", "ask"])
def test_infinite_values_are_refused_by_column_and_row(how):
    bad = {"a": np.zeros(3), "b": np.array([0, 1, -np.inf])}
    called = frozenset({"b"} if "categorical" in how else ())
    schema, _ = learn(a=np.zeros(3), b=np.arange(3.0))
    with pytest.raises(InvalidInput, match=r"'b' is infinite at row 2.*NaN"):
        schema.matrix(bad) if how == "ask" else learned(bad, called)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array(["2020-01-01"], "datetime64[D]"), "datetime64.*days since"),
        (np.array([1], "timedelta64[s]"), "timedelta64.*seconds"),
        (np.array([1j]), "complex128.*real and imaginary"),
        (np.array([b"x"]), "dtype.*S1.*text"),
        (objects([1, 2]), "list at row 0.*numbers, bools, or text"),
        (objects(datetime.date(2020, 1, 1)), "date at row 0"),
        (objects("a", 1.0), "float at row 1.*one kind"),
        (np.zeros((1, 2)), r"shape \(1, 2\)"),
    ],
)
def test_unusable_columns_are_refused_with_the_cure(values, said):
    with pytest.raises(InvalidInput, match=rf"(?s)'odd'.*{said}"):
        learn(odd=values)


@pytest.mark.parametrize("table", [{}, {"a": np.zeros(0)}])
def test_an_empty_table_is_refused(table):
    with pytest.raises(InvalidInput, match="empty"):
        learned(table, frozenset())


def test_columns_that_differ_are_named():
    schema, _ = learn(a=np.zeros(2), b=np.zeros(2))
    with pytest.raises(InvalidInput, match=r"missing \['b'\], unexpected \['c', 'd'\]"):
        schema.matrix({"a": np.zeros(1), "d": np.zeros(1), "c": np.zeros(1)})
    with pytest.raises(InvalidInput, match=r"missing \['a', 'b'\]"):
        schema.matrix({})


@pytest.mark.parametrize(
    ("known", "asked", "said"),
    [
        (np.arange(2.0), np.array(["1"]), "held number.*holds text"),
        (np.array(["1", "2"]), np.arange(1.0), "held text.*holds number"),
        (np.array([True, False]), np.array(["yes"]), "held bool.*holds text"),
    ],
)
def test_another_kind_than_learned_is_refused(known, asked, said):
    schema, _ = learn(a=known)
    with pytest.raises(InvalidInput, match=f"'a' {said}"):
        schema.matrix({"a": asked})


def test_a_column_without_a_value_fits_any_kind():
    schema, _ = learn(a=np.arange(2.0), none=objects(None, None))
    asked = {"a": objects(None), "none": np.array(["new"])}
    assert np.isnan(schema.matrix(asked)[0]).all()


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**53, 2**53 + 1, 1]),
        np.array([-(2.0**53), 1.0, np.nan]),
        np.array([None, 2**53 + 1, 1], object),
        np.array([2**63 + 1, 2**63, 1], np.uint64),
    ],
)
def test_categories_that_floats_do_not_tell_apart_are_refused(values):
    with pytest.raises(InvalidInput, match=r"'id' is categorical and holds .* row \d.*as text"):
        learned({"id": values}, frozenset({"id"}))
    learned({"id": values}, frozenset())  # as a measurement it is near enough


def test_the_largest_categories_stay_apart_and_larger_ones_are_unknown():
    largest = np.array([2**53 - 1, 2**53 - 2, 1 - 2**53])
    schema, table = learned({"id": largest}, frozenset({"id"}))
    assert table.matrix[:, 0].tolist() == [2, 1, 0]
    matrix, notes = schema.matrix({"id": np.array([2**53 - 2, 2**53, 2**53 + 1])})
    np.testing.assert_array_equal(matrix[:, 0], [1, np.nan, np.nan])
    assert "2 of 3 values" in notes[0]
