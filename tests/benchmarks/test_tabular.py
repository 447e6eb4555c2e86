"""The metrics, tables and comparisons of the tabular benchmark, on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn", reason="the tabular benchmark needs scikit-learn, as in .[bench]")

from benchmarks.tables.baselines import named, typed
from benchmarks.tables.compare import mean_ranks, paired, published, summary
from benchmarks.tables.validation import (
    TABLES,
    calibration,
    evaluate,
    load,
    means,
    scores,
)

with_tables = pytest.mark.skipif(not TABLES.is_dir(), reason="needs ../shared/data/tabular")
TWO = np.array([0, 1])


def test_metrics_of_two_classes():
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    found = scores(np.array([0, 0, 1, 1]), TWO, p)
    assert found["auc"] == 1
    assert found["accuracy"] == 0.75
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.7, 0.8]).mean())
    assert found["brier"] == pytest.approx(2 * (0.01 + 0.36 + 0.09 + 0.04) / 4)
    assert found["calibration"] == pytest.approx((0.1 + 0.6 + 0.3 + 0.2) / 4)


def test_auc_counts_pairs_in_order_and_ties_half():
    p = np.array([0.1, 0.5, 0.5, 0.9])
    found = scores(np.array([0, 0, 1, 0]), TWO, np.stack([1 - p, p], axis=1))
    assert found["auc"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_auc_of_three_classes_is_the_mean_over_pairs():
    truth = np.array([0, 0, 1, 1, 2, 2])
    p = np.random.default_rng(0).dirichlet(np.ones(3), 6)

    def pair(a, b):
        """Of rows of a and b, how often the right one has more of a."""
        ones, others = p[truth == a, a], p[truth == b, a]
        return np.mean([(x > y) + (x == y) / 2 for x in ones for y in others])

    by_hand = np.mean([(pair(a, b) + pair(b, a)) / 2 for a, b in [(0, 1), (0, 2), (1, 2)]])
    assert scores(truth, np.arange(3), p)["auc"] == pytest.approx(by_hand)


def test_a_class_without_test_rows_counts_for_nothing():
    p = np.array([[0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.0, 1.0, 0.0]])
    assert scores(np.array([0, 0, 1, 1]), np.arange(3), p)["auc"] == pytest.approx(0.75)
    wide = np.insert(np.random.default_rng(1).dirichlet(np.ones(3), 9), 2, 0.0, axis=1)
    truth = np.tile([0, 1, 3], 3)
    narrow = scores(np.tile([0, 1, 2], 3), np.arange(3), np.delete(wide, 2, axis=1))
    assert scores(truth, np.arange(4), wide) == pytest.approx(narrow)


def test_labels_are_matched_to_columns_by_their_names():
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert scores(np.array([3, 7]), np.array([3, 7]), p)["accuracy"] == 1
    assert scores(np.array([7, 3]), np.array([3, 7]), p)["auc"] == 0


def test_certainty_that_is_wrong_costs_much_and_not_everything():
    found = scores(np.array([0, 1]), TWO, np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert found["log_loss"] == pytest.approx(-np.log(1e-15) / 2)
    assert found["brier"] == 1
    assert found["auc"] == 0.5


@pytest.mark.parametrize("p", [[[0.5, 0.4]], [[np.nan, 1.0]]])
def test_what_is_no_distribution_is_refused(p):
    with pytest.raises(ValueError, match="sum to one"):
        scores(np.array([0]), TWO, np.array(p))


def test_a_label_without_a_column_is_refused():
    with pytest.raises(ValueError, match="was not predicted"):
        scores(np.array([2]), TWO, np.array([[0.5, 0.5]]))


def test_the_calibration_error_weighs_bins_by_rows():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])  # two of the fifteen bins
    hit = np.array([True, True, True, False, True, True])
    by_hand = 4 / 6 * abs(0.75 - 0.95) + 2 / 6 * abs(1 - 0.55)
    assert calibration(confidence, hit) == pytest.approx(by_hand)
    assert calibration(np.ones(3), np.ones(3, bool)) == 0
    assert calibration(np.array([1 / 15, 1 / 15]), np.zeros(2, bool)) == pytest.approx(1 / 15)


def row(table, split, auc):
    metrics = dict.fromkeys(("log_loss", "brier", "calibration", "accuracy", "seconds"), 0.5)
    return {"table": table, "split": split, "auc": auc, **metrics}


def test_means_are_over_splits_and_then_over_tables():
    rows = [row("a", 1, 0.6), row("a", 2, 0.8), row("b", 1, 0.9)]
    found = means(rows)
    assert found["sets"]["a"]["auc"] == pytest.approx(0.7)
    assert found["mean"]["auc"] == pytest.approx(0.8)


def test_paired_differences():
    ours, other = pd.Series([0.9, 0.8, 0.7, 0.6]), pd.Series([0.8, 0.8, 0.8, 0.3])
    found = paired(ours, other)
    assert found["difference"] == pytest.approx(0.075)
    assert (found["wins"], found["ties"], found["tables"]) == (2, 1, 4)
    half = 3.182446 * np.std([0.1, 0, -0.1, 0.3], ddof=1) / 2  # t of 97.5 %, 3 degrees
    assert found["interval"] == pytest.approx([0.075 - half, 0.075 + half], abs=1e-6)


def test_ranks_share_ties():
    table = pd.DataFrame({"x": [0.9, 0.5], "y": [0.8, 0.5], "z": [0.7, 0.6]})
    assert mean_ranks(table) == pytest.approx({"x": 1.75, "y": 2.25, "z": 2.0})


def test_a_summary_compares_with_those_that_ran_and_those_that_did_not():
    rows = {
        "ours": [row("a", 1, 0.9), row("b", 1, 0.7)],
        "theirs": [row("a", 1, 0.9), row("b", 1, 0.6)],
    }
    others = pd.DataFrame({"published x": [0.8, 0.95]}, index=["b", "a"])
    found = summary(rows, "ours", others)
    assert found["best"] == {"ours": 2, "theirs": 1}
    assert found["ranks"] == {"ours": 1.25, "theirs": 1.75}
    assert found["mean_auc"] == pytest.approx({"ours": 0.8, "theirs": 0.75, "published x": 0.875})
    assert found["against"]["published x"]["difference"] == pytest.approx(-0.075)
    assert set(found["against"]) == {"theirs", "published x"}


def test_categories_are_those_of_the_training_rows():
    train = pd.DataFrame({"c": [3.0, 1.0, np.nan], "x": [0.5, 1.5, 2.5]})
    test = pd.DataFrame({"c": [1.0, 2.0, np.nan], "x": [0.5, np.nan, 2.5]})
    known, asked = typed(train, test, ("c",))
    assert list(known["c"].cat.categories) == [1, 3]
    assert list(asked["c"].cat.codes) == [0, -1, -1]
    assert asked["x"].equals(test["x"])
    assert list(named(test, ("c",))["c"]) == ["1", "2", "missing"]


@with_tables
def test_all_tables_and_splits_are_there_and_halves_do_not_meet():
    found = list(load())
    assert len(found) == 60
    assert len({split.table for split in found}) == 12
    for split in found:
        assert set(split.truth) <= set(split.target)
        assert list(split.train) == list(split.test)
        assert split.train.index.equals(pd.RangeIndex(len(split.target)))
    assert {s.table for s in load((1,), ["cmc", "15", "40975_car"])} == {
        "15_breast-w",
        "23_cmc",
        "40975_car",
    }


@with_tables
def test_the_published_columns_have_the_means_that_are_known():
    mean = published().mean()
    assert mean["published tabpfn_v1_may2022"] == pytest.approx(0.836, abs=5e-4)
    assert mean["earlier logreg"] < mean["earlier rf"]
    assert len(published()) == 12


@with_tables
def test_evaluate_gives_a_know_nothing_what_it_deserves():
    def shares(train, target, test, categorical):
        classes, counts = np.unique(target, return_counts=True)
        assert set(categorical) <= set(train)
        return classes, np.tile(counts / counts.sum(), (len(test), 1))

    found = evaluate(shares, (1,), ["breast-w"])
    assert found["mean"]["auc"] == 0.5
    assert found["mean"]["calibration"] < 0.05
    assert found["mean"]["accuracy"] == pytest.approx(0.655, abs=0.02)
    assert [r["split"] for r in found["rows"]] == [1]
