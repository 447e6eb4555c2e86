"""Ids of training sets: equal for tables that say the same, and for no others."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretoken.errors import InvalidInput
from foretoken.models.tasks import TabularRequest
from foretoken.server.contexts.identity import Fitter, canonical, context_id, order, tenant_key
from tests.server.contexts.tables import table

KEY = tenant_key(b"secret", None)
FITTER = Fitter("toy", 1, "sha256:00", 1)


def named(request, key=KEY, fitter=FITTER):
    return context_id(key, fitter, canonical(request))


def texts(*values):
    made = np.empty(len(values), object)
    made[:] = values
    return made


def test_an_id_is_a_prefix_and_64_hex_digits():
    found = named(table())
    assert found.startswith("ctx-")
    assert len(bytes.fromhex(found.removeprefix("ctx-"))) == 32


def test_neither_order_of_columns_nor_width_of_numbers_matters():
    one = TabularRequest(
        train={"b": np.array([1.0, 0.0, np.nan]), "a": np.array([1, 2, 3])}, target=np.arange(3)
    )
    other = TabularRequest(
        train={
            "a": np.array([1, 2, 3], np.int8),
            "b": np.array([1.0, -0.0, -np.nan], np.float32),
        },
        target=np.arange(3, dtype=np.uint16),
    )
    assert named(one) == named(other)
    assert list(canonical(one).train) == list(canonical(other).train) == ["a", "b"]


@pytest.mark.parametrize(
    "change",
    [
        {"target": np.arange(12) % 2},
        {"target": (np.arange(12) % 2).astype(bool)},
        {"categorical": frozenset({"x1"})},
        {"options": {"members": 3}},
        {"train": {**table().train, "x1": table().train["x2"]}},
        {"train": {("y" if k == "x1" else k): v for k, v in table().train.items()}},
        {"train": {k: v[::-1] for k, v in table().train.items()}},
    ],
)
def test_whatever_else_differs_makes_another_id(change):
    assert named(replace(table(), **change)) != named(table())


def test_columns_to_predict_for_stand_as_they_were_fitted():
    fitted = list(canonical(table()).train)
    asked = TabularRequest(test={n: np.zeros(2) for n in reversed(fitted)}, context="ctx-1")
    assert list(canonical(asked).test) == list(canonical(asked, fitted).test) == fitted


def test_options_are_numbers_whatever_their_type():
    whole = canonical(replace(table(), options={"members": 3.0, "share": 0.5, "mode": "x"}))
    assert named(whole) == named(
        replace(table(), options={"share": 0.5, "mode": "x", "members": 3})
    )
    assert [type(value) for value in whole.options.values()] == [int, str, float]
    with pytest.raises(InvalidInput, match="'members' is nan"):
        canonical(replace(table(), options={"members": np.nan}))


def test_texts_are_told_from_numbers_and_from_what_is_missing():
    said = [
        TabularRequest(train={"a": column}, target=np.arange(2))
        for column in (
            texts("1", "2"), texts("1", None), texts("1", "None"), texts("1", "null"),
            np.array([1, 2]), np.array([1.0, 2.0]), np.array([True, False]), texts("1", "\ud7ff"),
        )
    ]  # fmt: skip
    assert len({named(request) for request in said}) == len(said)
    assert named(said[0]) == named(
        TabularRequest(train={"a": np.array(["1", "2"])}, target=np.arange(2))
    )
    missing = TabularRequest(train={"a": texts("1", float("nan"))}, target=np.arange(2))
    assert named(missing) == named(said[1])


def test_columns_that_are_categorical_anyway_need_not_be_named_so():
    said = TabularRequest(train={"a": texts("x", "y")}, target=np.arange(2))
    assert named(replace(said, categorical=frozenset({"a"}))) == named(said)


def test_tenants_versions_and_logic_have_ids_of_their_own():
    keys = [KEY, tenant_key(b"secret", "a"), tenant_key(b"secret", "None"), tenant_key(b"x", None)]
    fitters = [FITTER, replace(FITTER, version=2), replace(FITTER, predictor=2)]
    fitters += [replace(FITTER, manifest="sha256:01"), replace(FITTER, model="other")]
    ids = {named(table(), key, fitter) for key in keys for fitter in fitters}
    assert len(ids) == len(keys) * len(fitters)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (np.array([1 + 2j, 3]), "'a' has dtype complex128"),
        (np.array(["2020-01-01", "2020-01-02"], "M8[D]"), "'a' has dtype datetime64"),
        (texts("x", 3), r"'a' mixes texts with int \(row 1: 3\)"),
        (np.zeros((2, 2)), r"'a' has shape \(2, 2\)"),
        (np.array([0, 2**63], np.uint64), "'a' holds integers beyond 63 bits"),
        (texts("x", None, "y\ud800"), r"'a': the text 'y\\ud800' of row 2 is not Unicode"),
        (np.array(["\udfff"]), r"'a': the text '\\udfff' of row 0 is not Unicode"),
    ],
)
def test_other_columns_are_refused_by_name(column, said):
    with pytest.raises(InvalidInput, match=said):
        canonical(TabularRequest(train={"a": column}))


def test_labels_and_names_are_unicode():
    column = np.arange(2.0)
    with pytest.raises(InvalidInput, match=r"the target: the text '\\ud800' of row 1"):
        canonical(TabularRequest(train={"a": column}, target=texts("x", "\ud800")))
    with pytest.raises(InvalidInput, match=r"the name of column '\\udcff' is not Unicode"):
        canonical(TabularRequest(train={"\udcff": column}, target=texts("x", "y")))


def test_natural_order_counts_digits_as_numbers():
    names = ["x10", "x2", "x", "2", "10", "", "x2y", "x02", "é1"]
    assert order(dict.fromkeys(names)) == ["", "2", "10", "x", "x02", "x2", "x2y", "x10", "é1"]
    long = ["x" + "9" * 5000, "x1" + "0" * 5000, "x0"]
    assert order(dict.fromkeys(long)) == [long[2], long[0], long[1]]


names = st.lists(st.text(max_size=6), min_size=1, max_size=8, unique=True)


@given(names, st.randoms())
def test_any_names_have_one_order(names, random):
    shuffled = random.sample(names, len(names))
    assert order(dict.fromkeys(names)) == order(dict.fromkeys(shuffled))


def test_to_name_a_table_takes_less_than_a_millisecond():
    rng = np.random.default_rng(0)
    train = {f"x{i}": rng.standard_normal(1000) for i in range(20)}
    request = TabularRequest(train=train, target=np.arange(1000) % 2)
    best = 1.0
    for _ in range(50):
        began = time.perf_counter()
        named(request)
        best = min(best, time.perf_counter() - began)
    assert best < 1e-3, f"{best * 1e6:.0f} us"
