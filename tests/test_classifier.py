"""TabularClassifier as scikit-learn uses it, in this process and by a server."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import foretoken.models.tabpfn
from foretoken import Client, TabularClassifier
from foretoken.errors import ForetokenWarning, InvalidInput, InvalidType, NotFitted, NotFound
from foretoken.server.app import local_plane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from tests.neighbours import NearestClassifier
from tests.serving import serving

TRAINED = Path(foretoken.models.tabpfn.__file__).parent / "weights"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A data dir with the bundled models."""
    return tmp_path_factory.mktemp("bundled")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, published):
    """A data dir with a model of random weights, "tiny"."""
    folder = tmp_path_factory.mktemp("classifier")
    with Registry.open(folder) as registry:
        registry.register("tiny", published("tabpfn"))
    return folder


@pytest.fixture
def tiny(data_dir):
    return TabularClassifier("tiny", data_dir=data_dir)


@pytest.fixture(scope="module")
def table():
    """Numbers, whole numbers, text, bools and categories, 60 rows, some values missing."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=60),
            "count": rng.integers(0, 9, 60),
            "colour": rng.choice(["red", "green", "blue"], 60),
            "new": rng.random(60) < 0.5,
            "grade": pd.Categorical(rng.choice([1, 2, 3], 60)),
        }
    )
    frame.loc[3, "size"] = np.nan
    frame.loc[5, "colour"] = None
    return frame


@pytest.fixture(scope="module")
def labels(table):
    return np.where(table["size"].fillna(0) + 0.2 * table["count"] > 1, "large", "small")


@parametrize_with_checks([NearestClassifier()])
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)


@pytest.mark.skipif(not TRAINED.is_dir(), reason="this checkout has no trained TabPFN")
@parametrize_with_checks([TabularClassifier()])
def test_scikit_learn_accepts_the_bundled_model(estimator, check, home):
    check(estimator.set_params(data_dir=home))


def test_every_library_gives_the_same_probabilities(tiny, table, labels):
    expected = tiny.fit(table, labels).predict_proba(table)
    context = tiny.context_id_
    columns = {name: table[name].tolist() for name in table}
    columns["colour"] = [c if isinstance(c, str) else None for c in columns["colour"]]
    others = [
        table.convert_dtypes().astype({"grade": "category"}),
        pl.DataFrame(columns),
        pa.table(columns),
        columns,
    ]
    for other in others:
        again = TabularClassifier("tiny", data_dir=tiny.data_dir, categorical=["grade"])
        again.fit(other, labels)
        np.testing.assert_allclose(again.predict_proba(other), expected, atol=1e-5)
        np.testing.assert_allclose(tiny.predict_proba(other), expected, atol=1e-5)
    assert tiny.context_id_ == context
    assert tiny.feature_names_in_.tolist() == list(table)


@pytest.mark.parametrize(
    "y",
    [
        np.arange(60) % 3 - 1,
        np.arange(60) % 3 == 0,
        np.array(["b", "a", "c"] * 20),
        np.array([2.0, 0.0] * 30),
        pd.Series(["x", "y"] * 30, dtype="string"),
        pd.Series([1, 2, 3] * 20, dtype="Int64"),
        pl.Series(["x", "y"] * 30),
        pa.array([4, 7] * 30),
        ["x", "y"] * 30,
    ],
    ids=lambda y: f"{type(y).__module__.split('.')[0]}-{getattr(y, 'dtype', '')}",
)
def test_labels_of_every_kind_come_back(tiny, table, y):
    expected = np.array(y.to_pylist() if isinstance(y, pa.Array) else list(y))
    tiny.fit(table, y)
    np.testing.assert_array_equal(tiny.classes_, np.unique(expected))
    found, probabilities = tiny.predict(table), tiny.predict_proba(table)
    np.testing.assert_array_equal(found, tiny.classes_[probabilities.argmax(axis=1)])
    assert found.dtype.kind == expected.dtype.kind
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)


def test_classes_are_told_apart_by_more_than_their_place(tiny, table, labels):
    """The model's own order of labels is not taken for granted."""
    as_text = tiny.fit(table, labels).predict_proba(table)
    as_bools = tiny.fit(table, labels == "small").predict_proba(table)
    np.testing.assert_allclose(as_text, as_bools, atol=1e-6)


def test_a_seed_and_members_decide_the_answer(tiny, table, labels):
    first = tiny.fit(table, labels).predict_proba(table)
    np.testing.assert_array_equal(clone(tiny).fit(table, labels).predict_proba(table), first)
    for changed in ({"seed": 1}, {"members": 1}, {"temperature": 0.5}):
        other = clone(tiny).set_params(**changed).fit(table, labels)
        assert other.context_id_ != tiny.context_id_
        assert np.abs(other.predict_proba(table) - first).max() > 1e-6, changed


def test_uncertainty_is_of_the_members(tiny, table, labels):
    assert (tiny.fit(table, labels).predict_uncertainty(table) > 0).any()
    alone = clone(tiny).set_params(members=1).fit(table, labels)
    np.testing.assert_allclose(alone.predict_uncertainty(table), np.zeros(60), atol=1e-12)


def test_bytes_are_known_before_the_fit(tiny, table, labels):
    expected = tiny.context_bytes(table, labels)
    assert not hasattr(tiny, "context_id_")
    record = local_plane(load_settings(data_dir=tiny.data_dir)).context(
        tiny.fit(table, labels).context_id_
    )
    assert record.nbytes == expected > 0


def test_cross_validation_search_and_pipelines(tiny, table, labels):
    scores = cross_val_score(tiny, table, labels, cv=3)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()
    scaled = ColumnTransformer(
        [("scale", StandardScaler(), ["size", "count"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    search = GridSearchCV(make_pipeline(scaled, tiny), {"tabularclassifier__members": [1, 2]}, cv=2)
    search.fit(table, labels)
    assert set(search.predict(table)) <= {"large", "small"}
    best = search.best_estimator_[-1]
    assert set(best.feature_names_in_) == set(table)


def test_more_rows_than_are_sent_at_a_time(tiny, table, labels, monkeypatch):
    whole = tiny.fit(table, labels).predict_proba(table)
    monkeypatch.setattr("foretoken.estimators.tabular.ROWS", 7)
    np.testing.assert_allclose(tiny.predict_proba(table), whole, atol=1e-6)


def test_new_categories_count_as_missing_and_are_told(tiny, table, labels):
    tiny.fit(table, labels)
    unseen = table.assign(colour=["violet", *table["colour"][1:]])
    missing = table.assign(colour=[None, *table["colour"][1:]])
    with pytest.warns(ForetokenWarning, match=r"'colour'.*1 of 60"):
        found = tiny.predict_proba(unseen)
    np.testing.assert_array_equal(found, tiny.predict_proba(missing))


def test_large_tables_are_refused_or_taken_in_parts(tiny):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(1100, 3)), rng.integers(0, 2, 1100)
    with pytest.raises(InvalidInput, match=r"1100 rows.*limit='subsample'"):
        tiny.fit(X, y)
    parts = tiny.set_params(limit="subsample", members=2).fit(X, y)
    assert "1024 of 1100 rows" in " ".join(parts.notes_)
    assert parts.predict_proba(X[:3]).shape == (3, 2)


def test_an_unused_column_is_told(tiny, table, labels):
    for _ in range(2):
        tiny.fit(table.assign(same=1.0), labels)
        assert tiny.notes_ == ("column 'same' is constant and is not used",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.rename(columns={"size": "width"}), "unseen at fit time: .'width'"),
        (lambda t: t.drop(columns="size"), "now missing: .'size'"),
        (lambda t: t[t.columns[::-1]], "same order"),
        (lambda t: t.to_numpy()[:, :4], "4 features.*expecting 5.*'colour'"),
        (lambda t: t.assign(size="big"), "'size'"),
        (lambda t: t.assign(size=np.inf), "'size', row 0"),
        (lambda t: t[:0], "0 sample"),
        (lambda t: t["size"], "Expected a 2-dimensional container"),
    ],
)
def test_rows_of_another_table_are_refused(tiny, table, labels, change, said):
    tiny.fit(table, labels)
    with pytest.raises(InvalidInput, match=f"(?s){said}"):
        tiny.predict(change(table))


def test_text_that_is_not_unicode_is_refused_by_column(tiny, labels):
    """A lone surrogate, as files read with errors='surrogateescape' give it."""
    plain = {"size": np.arange(60.0), "colour": ["red", "blue"] * 30}
    odd = {**plain, "colour": ["\udcff"] * 60}
    with pytest.raises(InvalidInput, match=r"'colour': the text .* of row 0 is not Unicode"):
        tiny.fit(odd, labels)
    tiny.fit(plain, labels)
    with pytest.warns(UserWarning, match="'colour': 60 of 60 values were not among"):
        tiny.predict(odd)
    with pytest.raises(InvalidInput, match=r"the name of column '\\udcff'"):
        tiny.fit({"\udcff": plain["size"]}, labels)


def test_columns_without_names_are_taken_in_order(tiny, table, labels):
    expected = tiny.fit(table, labels).predict_proba(table)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        found = tiny.predict_proba(table.to_numpy(object))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"members": 0}, InvalidInput, "members"),
        ({"members": "many"}, InvalidType, "members must be a finite number"),
        ({"seed": 0.5}, InvalidInput, "seed"),
        ({"limit": "drop"}, InvalidInput, "limit"),
        ({"temperature": 0}, InvalidInput, "temperature"),
        ({"categorical": ["weight"]}, InvalidInput, "'weight', which is no column"),
        ({"categorical": "size"}, InvalidType, r"give \['size'\]"),
        ({"model": "nothing"}, NotFound, "nothing"),
    ],
)
def test_parameters_are_checked_by_fit(tiny, table, labels, given, kind, said):
    with pytest.raises(kind, match=said):
        tiny.set_params(**given).fit(table, labels)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([None, *["a"] * 59], "NaN at row 0"),
        (["a"] * 60, "one class"),
        (["a", 1] * 30, "Unknown label type"),
        (np.linspace(0, 1, 60), "continuous"),
        (["a", "b"], "inconsistent.*60 rows.*2 labels"),
        (["a", "b\ud800"] * 30, "the target: .* of row 1 is not Unicode"),
        (None, "requires y"),
    ],
)
def test_labels_are_checked(tiny, table, y, said):
    with pytest.raises(InvalidInput, match=said):
        tiny.fit(table, y)


def test_too_many_classes_are_refused(tiny, table):
    from foretoken.errors import Unsupported

    with pytest.raises(Unsupported, match="10 classes"):
        tiny.fit(table, np.arange(60) % 11)


def test_whoever_is_not_fitted_says_so_in_both_trees(tiny, table):
    for kind in (NotFitted, NotFittedError, ValueError, AttributeError):
        with pytest.raises(kind, match="call fit first"):
            tiny.predict(table)


def test_a_context_that_is_gone_asks_for_another_fit(tiny, table, labels):
    tiny.set_params(seed=77).fit(table, labels)
    local_plane(load_settings(data_dir=tiny.data_dir)).delete_context(tiny.context_id_)
    with pytest.raises(NotFitted, match="call fit again"):
        tiny.predict(table)


def test_a_pickle_is_small_and_answers_in_another_process(tiny, table, labels, tmp_path):
    expected = tiny.fit(table, labels).predict_proba(table)
    kept = pickle.dumps(tiny)
    assert tiny.context_id_.encode() in kept
    assert len(kept) < 2000
    (tmp_path / "model").write_bytes(kept)
    table.to_pickle(tmp_path / "table")
    code = (
        "import pickle, sys, numpy as np, pandas as pd, pathlib\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "model = pickle.loads((here / 'model').read_bytes())\n"
        "np.save(here / 'found', model.predict_proba(pd.read_pickle(here / 'table')))\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path)], check=True, timeout=120)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-6)


@pytest.fixture(scope="module")
def server(tmp_path_factory, published):
    folder = tmp_path_factory.mktemp("served")
    with Registry.open(folder) as registry:
        registry.register("tiny", published("tabpfn"))
    with serving(data_dir=folder) as running:
        yield running


def test_a_server_answers_as_this_process_does(server, tiny, table, labels):
    here = tiny.fit(table, labels)
    there = TabularClassifier("tiny", server.address)
    assert there.context_bytes(table, labels) == here.context_bytes(table, labels)
    there.fit(table, labels)
    np.testing.assert_allclose(there.predict_proba(table), here.predict_proba(table), atol=1e-5)
    unsure = there.predict_uncertainty(table)
    np.testing.assert_allclose(unsure, here.predict_uncertainty(table), atol=1e-5)
    again = pickle.loads(pickle.dumps(there))
    np.testing.assert_array_equal(again.predict(table), there.predict(table))


def test_a_client_is_shared_by_clones_and_survives_pickling(server, table, labels):
    with Client(server.address) as client:
        model = TabularClassifier("tiny", client)
        assert clone(model).server is client
        assert len(cross_val_score(model, table, labels, cv=2)) == 2
        model.fit(table, labels)
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict(table), model.predict(table))
        again.server.close()
        client.delete_context(model.context_id_)
        with pytest.raises(NotFitted, match="call fit again"):
            model.predict(table)


def test_a_server_goes_without_a_data_dir(tmp_path, table, labels):
    model = TabularClassifier(server="localhost:8100", data_dir=tmp_path)
    with pytest.raises(InvalidInput, match="data_dir"):
        model.fit(table, labels)


def test_importing_the_package_imports_no_scikit_learn():
    code = "import sys, foretoken, foretoken.estimators; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
