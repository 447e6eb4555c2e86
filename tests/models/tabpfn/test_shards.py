"""Tables beyond the limits: refused, or learned from in parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretoken.errors import InvalidInput
from foretoken.models.tabpfn.pipelines import Options
from foretoken.models.tabpfn.shards import Limits, shards

LIMITS = Limits(rows=20, columns=5, classes=10)


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=10),
    columns=st.integers(1, 12),
    seed=st.integers(0, 9),
)
def test_parts_are_stratified_within_limits_and_the_same_every_time(counts, columns, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    options = Options(members=3, seed=seed, limit="subsample")
    made = shards(labels, columns, LIMITS, options)
    again = shards(labels, columns, LIMITS, options)
    whole = len(labels) <= LIMITS.rows and columns <= LIMITS.columns
    assert len(made) == (1 if whole else 3)
    for one, same in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.rows, same.rows)
        np.testing.assert_array_equal(one.columns, same.columns)
        assert len(set(one.rows.tolist())) == len(one.rows) == min(len(labels), LIMITS.rows)
        assert len(set(one.columns.tolist())) == min(columns, LIMITS.columns)
        found = np.bincount(labels[one.rows], minlength=len(counts))
        assert (found >= 1).all()
        wanted = np.array(counts) * len(one.rows) / len(labels)
        # What rare classes get beyond their share, the others lack.
        given_to_rare = np.maximum(1 - wanted, 0).sum()
        assert (np.abs(found - wanted) <= 1 + given_to_rare).all()


def test_members_see_different_parts():
    made = shards(np.arange(200) % 2, 30, LIMITS, Options(members=4, limit="subsample"))
    assert len({one.rows.tobytes() for one in made}) == 4
    assert len({one.columns.tobytes() for one in made}) == 4
    assert [one.options.first for one in made] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        (21, 5, r"21 rows to learn from \(limit 20\)"),
        (20, 6, r"6 columns \(limit 5\)"),
        (21, 6, r"21 rows .* and 6 columns"),
    ],
)
def test_too_large_a_table_is_refused_with_the_cure(rows, columns, said):
    with pytest.raises(InvalidInput, match=f"{said}.*limit='subsample'"):
        shards(np.arange(rows) % 2, columns, LIMITS, Options())
