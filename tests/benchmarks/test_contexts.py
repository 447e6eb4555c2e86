"""What the benchmark of contexts asks, and how it runs the runtime alone."""

from __future__ import annotations

import numpy as np

from benchmarks.tables.bare import calls_of, merged
from benchmarks.tables.queries import question
from foretoken.models.contract import Call, Host
from foretoken.proto import tabular as wire


def test_questions_are_repeatable_and_each_is_another():
    one, same, other = (question(seed, 30, 4, 3) for seed in (1, 1, 2))
    assert all((one.train[name] == same.train[name]).all() for name in one.train)
    assert (one.train["x0"] != other.train["x0"]).all()
    assert {len(column) for column in one.test.values()} == {3}
    assert set(one.labels) == {0, 1}


def test_a_payload_says_the_context_and_the_rows():
    asked = question(0, 30, 4, 3)
    asked.context = "ctx-1"
    said = wire.PredictRequest.FromString(asked.payload())
    assert said.context_id == "ctx-1"
    columns = {c.name: np.frombuffer(c.doubles, "<f8") for c in said.test.columns.columns}
    assert columns.keys() == asked.test.keys()
    assert all((columns[name] == asked.test[name]).all() for name in columns)


def test_calls_are_found_behind_work_of_the_host():
    def steps():
        found = yield Host(lambda: 2)
        yield [Call("query", {"x": np.full(found, 1.0)})]

    (call,) = calls_of(steps())
    assert call.inputs["x"].tolist() == [1.0, 1.0]


def test_queries_are_merged_along_the_batch():
    queries = [{"x": np.full((4, 2, 3), i), "n": np.full(4, i)} for i in range(3)]
    whole = merged(queries)
    assert whole["x"].shape == (12, 2, 3)
    assert whole["n"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
