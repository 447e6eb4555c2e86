"""TabPFN's request logic: laws of contexts, of ensembles, and refusals."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.contract import Call, Host
from foretoken.models.tabpfn.model import TabPFNConfig
from foretoken.models.tabpfn.predict import TabularPredictor
from foretoken.models.tasks import TabularRequest
from foretoken.server.contexts import states

CLOSE = {"rtol": 0, "atol": 1e-5}
QUIET = settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def table(drawn=0, rows=30, asked=7, columns=5, classes=3, **options):
    rng = np.random.default_rng(drawn)
    centre = rng.standard_normal((classes, columns))
    labels = np.arange(rows) % classes
    train = centre[labels] + 0.5 * rng.standard_normal((rows, columns))
    test = centre[rng.integers(0, classes, asked)] + 0.5 * rng.standard_normal((asked, columns))
    return TabularRequest(
        test={f"x{j}": test[:, j] for j in range(columns)},
        train={f"x{j}": train[:, j] for j in range(columns)},
        target=labels,
        options=options,
    )


def bare(request, **changes):
    return replace(request, train={}, target=None, options={}, **changes)


def test_options_in_full_say_the_same_again(either):
    predictor = either.predictor
    full = predictor.options({})
    assert {"members", "seed", "temperature", "limit"} <= full.keys()
    assert "first" not in full
    for name, value in full.items():
        assert predictor.options({name: value}) == full
    assert predictor.options({"members": float(full["members"])}) == full
    changed = predictor.options({"limit": "subsample"})
    assert changed == predictor.options(changed) == {**full, "limit": "subsample"}


def rows_of(request, index):
    return replace(request, test={name: c[index] for name, c in request.test.items()})


def expect_announced(model, asked, context):
    """The context's states have the bytes that were announced for the request."""
    lengths = model.predictor.lengths(asked)
    assert states.announced(model.graphs.values(), lengths) == states.nbytes(context)


@st.composite
def tables(draw):
    """Mixed columns with missing values, of which at least one tells rows apart."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, asked = draw(st.integers(2, 25)), draw(st.integers(1, 6))
    classes = draw(st.integers(2, min(4, rows)))
    gaps = draw(st.sampled_from([0.0, 0.2, 0.9]))
    columns = {"always": rng.standard_normal(rows + asked)}
    for j in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["float", "wild", "int", "bool", "text", "constant", "none"]))
        columns[f"{kind}{j}"] = _column(rng, kind, rows + asked, gaps)
    target = rng.permutation(np.arange(rows) % classes)
    return TabularRequest(
        test={name: column[rows:] for name, column in columns.items()},
        train={name: column[:rows] for name, column in columns.items()},
        target=np.array(["no", "perhaps", "yes", "zero"])[target],
        categorical=frozenset(name for name in columns if name.startswith("int")),
        options={"members": draw(st.integers(1, 6)), "seed": draw(st.integers(0, 3))},
    )


def _column(rng, kind, n, gaps):
    missing = rng.random(n) < gaps
    match kind:
        case "float" | "wild":
            values = rng.standard_normal(n) * (1.0 if kind == "float" else 1e9)
            return np.where(missing, np.nan, values)
        case "int":
            return rng.integers(0, 4, n)
        case "bool":
            return rng.random(n) < 0.5
        case "constant":
            return np.full(n, 7.0)
        case "none":
            return np.full(n, np.nan)
    words = rng.choice(np.array(["a", "b", "ü", ""], object), n)
    return np.where(missing, None, words)


@QUIET
@given(asked=tables())
def test_cached_is_uncached_and_probabilities_are_such(either, asked):
    uncached = either.predict(asked)
    context = either.fit(asked)
    cached = either.predict(bare(asked, categorical=frozenset()), context)
    np.testing.assert_array_equal(cached.probabilities, uncached.probabilities)
    np.testing.assert_array_equal(cached.uncertainty, uncached.uncertainty)
    assert cached.classes.tolist() == uncached.classes.tolist() == sorted(set(asked.target))
    assert cached.notes == uncached.notes
    np.testing.assert_allclose(uncached.probabilities.sum(1), 1, rtol=0, atol=1e-12)
    assert (uncached.probabilities >= 0).all()
    assert (uncached.uncertainty >= 0).all()
    expect_announced(either, asked, context)
    assert all(a.dtype.kind in "iuf" for a in context.arrays.values())


@QUIET
@given(asked=tables(), seed=st.integers(0, 99))
def test_test_rows_answer_alone_as_in_company_and_in_any_order(either, asked, seed):
    context = either.fit(asked)
    asked = bare(asked, categorical=frozenset())
    whole = either.predict(asked, context).probabilities
    order = np.random.default_rng(seed).permutation(len(whole))
    turned = either.predict(rows_of(asked, order), context).probabilities
    np.testing.assert_allclose(turned, whole[order], **CLOSE)
    one = either.predict(rows_of(asked, order[:1]), context).probabilities
    np.testing.assert_allclose(one, whole[order[:1]], **CLOSE)


@QUIET
@given(asked=tables(), seed=st.integers(0, 99))
def test_columns_are_known_by_name_in_any_order(either, asked, seed):
    context = either.fit(asked)
    names = np.random.default_rng(seed).permutation(list(asked.test))
    turned = replace(asked, test={str(name): asked.test[name] for name in names})
    a, b = (
        either.predict(asked, context),
        either.predict(bare(turned, categorical=frozenset()), context),
    )
    np.testing.assert_array_equal(a.probabilities, b.probabilities)


def test_members_share_calls_in_groups_of_four(model):
    context = model.fit(table(members=10))
    assert [len(state["n"]) for state in context.states] == [4, 4, 2]
    assert {graph for graph, _ in model.calls} == {"encode_context"}
    assert {name for state in context.states for name in state} == {"n", "k0", "v0", "k1", "v1"}


def test_many_rows_are_asked_in_chunks(model):
    asked = table(asked=2500, members=2)
    context = model.fit(asked)
    model.calls.clear()
    whole = model.predict(bare(asked), context)
    assert [shape[1] for _, shape in model.calls] == [1024, 1024, 452]
    few = model.predict(rows_of(bare(asked), slice(1020, 1030)), context)
    np.testing.assert_allclose(few.probabilities, whole.probabilities[1020:1030], **CLOSE)


def test_long_work_goes_to_a_thread_and_a_single_row_does_not(model):
    asked = table(asked=5000, members=4)
    assert isinstance(next(model.predictor.fit(asked)), Host)
    context = model.fit(asked)
    steps = model.predictor.predict(bare(table(asked=50_000)), context)
    assert isinstance(next(steps), Host)
    steps.close()
    (call,) = next(model.predictor.predict(rows_of(bare(asked), slice(1)), context))
    assert isinstance(call, Call)


def test_a_model_of_another_release_is_refused():
    config = {**asdict(TabPFNConfig(16, 1, 1, 16)), "pipeline": "ordered", "features": 110}
    with pytest.raises(Unsupported, match=r"110 features.*130"):
        TabularPredictor(config)


def test_a_schema_of_many_categories_is_read_in_a_thread(model):
    words = np.array([f"{i:032d}" for i in range(600)])
    asked = TabularRequest({"word": words[:1]}, {"word": words}, np.arange(600) % 2)
    context = model.fit(asked)
    assert isinstance(next(model.predictor.predict(bare(asked), context)), Host)


def test_a_table_beyond_the_limits_is_refused_or_learned_in_parts(small):
    model = small(rows=16, features=6)
    asked = table(rows=50, columns=9, members=5)
    for work in (model.fit, model.predictor.lengths, model.predict):
        with pytest.raises(InvalidInput, match=r"50 rows .* 9 columns .*subsample"):
            work(asked)
    asked = replace(asked, options={"members": 5, "limit": "subsample"})
    context = model.fit(asked)
    expect_announced(model, asked, context)
    assert all(state["k0"].shape[2] == 16 for state in context.states)
    reply = model.predict(asked)
    assert "5 ensemble members learned from 16 of 50 rows" in reply.notes[-1]
    assert "6 of 9 columns" in reply.notes[-1]
    np.testing.assert_allclose(reply.probabilities.sum(1), 1, rtol=0, atol=1e-12)
    assert (reply.uncertainty > 0).all()
    cached = model.predict(bare(asked), context)
    np.testing.assert_array_equal(cached.probabilities, reply.probabilities)
    seeded = replace(asked, options={**asked.options, "seed": 1})
    assert not np.array_equal(model.predict(seeded).probabilities, reply.probabilities)


def test_uncertainty_is_the_mutual_information_of_label_and_member(model):
    asked = table(members=3)
    context = model.fit(asked)
    own = {name[2:]: a for name, a in context.arrays.items() if name.startswith("0/")}
    pipeline = model.predictor._pipeline
    matrix = np.stack([asked.test[f"x{j}"] for j in range(5)], 1)
    x = pipeline.rows(own, matrix)
    (state,) = context.states
    logits = model.run("query", {"x": x, **state})["logits"]
    _, members = pipeline.probabilities(own, logits)
    mean = members.mean(0)
    wanted = (members * np.log(members / mean)).sum(2).mean(0)
    reply = model.predict(asked)
    np.testing.assert_allclose(reply.uncertainty, wanted, rtol=1e-6, atol=1e-12)
    assert not model.predict(replace(asked, options={"members": 1})).uncertainty.any()


def test_temperature_flattens(model):
    sharp, flat = (model.predict(table(temperature=t)).probabilities for t in (0.1, 100.0))
    assert sharp.max() > 0.5 > flat.max()


def test_columns_without_use_are_told(model):
    asked = table()
    extra = {"same": np.full(30, 3.0), "empty": np.full(30, np.nan)}
    more = {name: np.full(7, 9.0) for name in extra}
    asked = replace(asked, train={**asked.train, **extra}, test={**asked.test, **more})
    notes = model.predictor.notes(model.fit(asked))
    assert notes == model.predict(asked).notes
    assert notes == (
        "column 'same' is constant and is not used",
        "column 'empty' holds no value and is not used",
    )


def test_a_column_that_names_rows_is_told(model):
    asked = table()
    days = np.array([f"2026-01-{day + 1:02}" for day in range(30)])
    more = {"often": days[np.arange(30) % 12], "day": days}
    test = {name: values[:7] for name, values in more.items()}
    asked = replace(asked, train={**asked.train, **more}, test={**asked.test, **test})
    (note,) = model.predict(asked).notes
    assert note.startswith("column 'day' has 30 categories in 30 rows")


def test_new_categories_are_accepted_and_told(model):
    asked = table()
    town = np.array(["a", "b", "c"])[np.arange(30) % 3]
    asked = replace(
        asked,
        train={**asked.train, "town": town},
        test={**asked.test, "town": np.array(["a"] * 6 + ["new"])},
    )
    reply = model.predict(asked)
    assert "'town': 1 of 7 values" in reply.notes[-1]
    assert np.isfinite(reply.probabilities).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"memebrs": 3}, r"\['memebrs'\]; known are members, seed, temperature, limit, transform"),
        ({"members": 0}, "members=0: accepted is a whole number from 1 to 32"),
        ({"members": 33}, "members=33"),
        ({"members": 2.5}, "members=2.5"),
        ({"members": float("nan")}, "members=nan"),
        ({"members": "3"}, "members='3'"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": float("inf")}, "seed=inf"),
        ({"temperature": 0.0}, "temperature=0.0: accepted is a number from 0.001 to 1000"),
        ({"limit": "cut"}, "limit='cut': accepted is 'refuse' or 'subsample'"),
        ({"transform": 1.0}, "transform=1.0: accepted is 'mix' or 'none'"),
        ({"first": 1}, "unknown options"),
    ],
)
def test_unacceptable_options_are_refused(model, options, said):
    for work in (model.fit, model.predictor.lengths, model.predict):
        with pytest.raises(InvalidInput, match=said):
            work(table(**options))


def test_a_context_keeps_its_options(model):
    context = model.fit(table(members=2))
    same = replace(bare(table()), options={"members": 2.0})
    assert model.predict(same, context).probabilities.shape == (7, 3)
    with pytest.raises(InvalidInput, match=r"\['seed'\] differ .* fit again"):
        model.predict(replace(bare(table()), options={"seed": 5}), context)
    with pytest.raises(InvalidInput, match=r"\['x1'\] were not fitted as categorical"):
        model.predict(bare(table(), categorical=frozenset({"x1"})), context)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"target": np.zeros(30)}, InvalidInput, "one class"),
        ({"target": np.arange(30)}, Unsupported, "more than 10 classes"),
        ({"target": None}, InvalidInput, "no target"),
        ({"train": {f"x{j}": np.ones(30) for j in range(5)}}, InvalidInput, "tells rows apart"),
        ({"train": {f"x{j}": np.full(30, np.inf) for j in range(5)}}, InvalidInput, "'x0' is inf"),
        ({"test": {}}, InvalidInput, "no rows to classify"),
        ({"test": {f"x{j}": np.zeros(0) for j in range(5)}}, InvalidInput, "no rows to classify"),
        ({"test": {f"x{j}": np.array(["1"]) for j in range(5)}}, InvalidInput, "'x0' held number"),
    ],
)
def test_bad_tables_are_refused_with_the_cure(model, change, error, said):
    with pytest.raises(error, match=said):
        model.predict(replace(table(), **change))


def test_an_empty_table_is_refused(model):
    with pytest.raises(InvalidInput, match="empty"):
        model.fit(TabularRequest(target=np.array([0, 1])))
