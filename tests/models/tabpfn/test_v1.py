"""The first release's pipeline gives the numbers that its authors' code gave."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import PowerTransformer

from foretoken.models.catalog import family
from foretoken.models.layers.official import renamed
from foretoken.models.tabpfn import official
from foretoken.models.tabpfn.columns import Table
from foretoken.models.tabpfn.pipelines import Options
from foretoken.models.tabpfn.v1 import V1Pipeline, permutation
from foretoken.models.tasks import TabularRequest

SETS = ("11", "54", "15", "1480", "458", "40966")


@pytest.fixture(scope="module")
def released(small, checkpoint):
    ours = renamed(checkpoint, official._NAMES, unused=(), model="release")
    model = small(width=64, heads=4, mlp=128)
    model.module.load_state_dict(ours)
    return model


def request(v1, name, **options):
    train, test = v1[f"{name}/X_train"], v1[f"{name}/X_test"]
    return TabularRequest(
        test={f"x{i}": column for i, column in enumerate(test.T)},
        train={f"x{i}": column for i, column in enumerate(train.T)},
        target=v1[f"{name}/y_train"],
        options=options,
    )


def test_the_bare_forward_is_theirs(released, v1):
    x, y = v1["raw/x"].transpose(1, 0, 2), v1["raw/y"].T
    n = np.full(3, 40)
    state = released.run("encode_context", {"x": x[:, :40], "y": y.astype(np.int64), "n": n})
    logits = released.run("query", {"x": x[:, 40:], "n": n, **state})["logits"]
    np.testing.assert_allclose(logits, v1["raw/out"].transpose(1, 0, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("members", [1, 3, 16, 32])
def test_ensembles_answer_as_theirs(released, v1, name, members):
    reply = released.predict(request(v1, name, members=members))
    wanted = v1[f"{name}/proba_N{members}"]
    np.testing.assert_allclose(reply.probabilities, wanted, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(reply.classes, np.unique(v1[f"{name}/y_train"]))


@pytest.mark.parametrize("name", SETS)
def test_without_transforms_too(released, v1, name):
    asked = request(v1, name, members=1, transform="none")
    reply = released.predict(asked)
    np.testing.assert_allclose(reply.probabilities, v1[f"{name}/proba_N1_nopre"], rtol=0, atol=1e-5)
    # Their logits stand for the classes as the member saw them, turned back and divided by 0.8.
    logits = v1[f"{name}/logits_N1_nopre"].astype(np.float64)
    found = np.log(reply.probabilities)
    apart = (logits - logits.mean(1, keepdims=True)) - (found - found.mean(1, keepdims=True))
    assert min(np.abs(apart).max(), np.abs(_scaled(logits) - _scaled(found)).max()) < 1e-4


def _scaled(logits):
    centred = logits - logits.mean(1, keepdims=True)
    return centred / np.abs(centred).max()


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**32 - 1])
def test_permutations_are_those_of_torch(seed):
    generator = np.random.RandomState(seed)
    torch.manual_seed(seed)
    for n in (1, 2, 7, 100, 1000):
        assert permutation(generator, n).tolist() == torch.randperm(n).tolist()


def fitted(x, **options):
    F = x.shape[1]
    table = Table(x, np.zeros(F, bool), tuple(map(str, range(F))))
    labels = np.arange(len(x)) % 2
    pipeline = V1Pipeline()
    options = {**pipeline.defaults, **options}
    return pipeline, pipeline.fit(table, labels, 2, Options(**options))


def test_the_power_transform_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    x = np.stack([rng.gamma(1.0, 2.0, 200), -rng.gamma(0.5, 1.0, 200), rng.normal(size=200)], 1)
    pipeline, arrays = fitted(x, members=2)
    z = (x - x.mean(0)) / (x.std(0, ddof=1) + 1e-6)
    wanted = PowerTransformer().fit_transform(z) * (100 / 3)
    member = arrays["transform"].tolist().index(1)
    shift = int(arrays["column_shift"][member])
    got = np.roll(pipeline.rows(arrays, x)[member], shift, axis=1)
    inside = np.abs(wanted) < 3 * 100 / 3
    np.testing.assert_allclose(got[inside], wanted[inside], rtol=1e-3, atol=2e-2)


def test_a_row_depends_on_no_other_row():
    rng = np.random.default_rng(1)
    pipeline, arrays = fitted(rng.standard_normal((50, 4)), members=8)
    asked = rng.standard_normal((9, 4)) * 1e6
    together = pipeline.rows(arrays, asked)
    alone = np.concatenate([pipeline.rows(arrays, row[None]) for row in asked], axis=1)
    np.testing.assert_array_equal(together, alone)
    assert np.isfinite(together).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e150, 1e300])
def test_any_finite_numbers_become_finite_features(scale):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((20, 5)) * scale
    x[::3, 1] = np.nan
    x[:, 2] = np.nan
    x[1:, 3] = np.nan
    pipeline, arrays = fitted(x, members=4)
    assert all(np.isfinite(pipeline.rows(arrays, each)).all() for each in (x, x * 7, -x[:1]))


def test_no_columns_left_is_a_column_of_zeros():
    pipeline, arrays = fitted(np.ones((6, 3)), members=2)
    assert arrays["kept"].size == 0
    features = pipeline.rows(arrays, np.zeros((4, 3)))
    assert features.shape == (2, 4, 1)
    assert not features.any()


def test_there_are_no_more_members_than_configurations():
    pipeline, arrays = fitted(np.random.default_rng(3).standard_normal((9, 2)), members=32)
    options = Options(**{**pipeline.defaults, "members": 32})
    assert len(arrays["transform"]) == pipeline.members(2, 2, options) == 8
    assert pipeline.members(2, 2, Options(members=32, transform="none")) == 4
    assert family("tabpfn").small["pipeline"] == "v1"
