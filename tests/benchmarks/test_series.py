"""The series of benchmarks as they are read, and simple methods on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.common import SHARED
from benchmarks.series import etth1, neighbours, ts

SERIES = SHARED / "series"
with_series = pytest.mark.skipif(not SERIES.is_dir(), reason="needs ../shared/data/series")
TEXT = """#a comment
@problemName Toy
@timeStamps false
@classLabel true up down

@data
1,2,3:0,0,1:up
3,1:5,5:down
"""


@pytest.fixture
def toy(tmp_path):
    path = tmp_path / "Toy_TRAIN.ts"
    path.write_text(TEXT, "utf-8")
    return path


def test_series_of_several_lengths_are_padded(toy):
    found = ts.read(toy)
    assert found.values.tolist() == [[[1, 0], [2, 0], [3, 1]], [[3, 5], [1, 5], [0, 0]]]
    assert found.length.tolist() == [3, 2]
    assert found.label.tolist() == [0, 1]
    assert found.classes == ("up", "down")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("3,1:5,5", "3,1:5", "series 2 differ"),
        ("3,1:", "3,nan:", "missing"),
        ("@classLabel true up down", "@classLabel false", "only series with classes"),
    ],
)
def test_files_that_are_not_understood_are_refused(toy, old, new, said):
    toy.write_text(TEXT.replace(old, new), "utf-8")
    with pytest.raises(ValueError, match=said):
        ts.read(toy)


def test_parts_of_one_set_have_the_same_classes(toy):
    other = toy.with_name("Toy_TEST.ts")
    other.write_text(TEXT, "utf-8")
    assert [part.classes for part in ts.load(toy.parent, "Toy")] == [("up", "down")] * 2
    other.write_text(TEXT.replace("up down", "down up"), "utf-8")
    with pytest.raises(ValueError, match="to train and"):
        ts.load(toy.parent, "Toy")


def labelled(*series):
    length = np.array([len(s) for s in series])
    values = np.zeros((len(series), length.max(), 1), np.float32)
    for row, s in zip(values, series, strict=True):
        row[: len(s), 0] = s
    return ts.Labelled(values, length, np.arange(len(series)), ("a", "b"))


def test_warping_forgives_what_euclid_does_not():
    test, train = labelled([0, 0, 1, 2]), labelled([0, 1, 2], [0, 0, 0, 2])
    # [0, 1, 2] fits without cost; of the other, 1 is a step from both 0 and 2.
    assert neighbours.warping(test, train).tolist() == [[0, 1]]
    assert neighbours.euclid(test, train).tolist() == [[6, 1]]
    assert neighbours.accuracy(neighbours.warping(test, train), train, test) == 1
    assert neighbours.accuracy(neighbours.euclid(test, train), train, test) == 0


def test_the_seasonal_naive_repeats_the_last_season():
    contexts = np.arange(6, dtype=np.float32).reshape(1, 6, 1)
    assert etth1.naive(contexts, 5, season=2)[0, :, 0].tolist() == [4, 5, 4, 5, 4]


def test_windows_begin_where_forecasts_count():
    part = etth1.Part(np.arange(12, dtype=np.float32)[:, None], first=5)
    contexts, futures = etth1.windows(part, 3, 4, stride=2)
    assert contexts[:, :, 0].tolist() == [[2, 3, 4], [4, 5, 6]]
    assert futures[:, :, 0].tolist() == [[5, 6, 7, 8], [7, 8, 9, 10]]
    with pytest.raises(ValueError, match="5 hours precede"):
        etth1.windows(part, 6, 4)


@with_series
def test_etth1_is_split_as_in_the_literature():
    parts = etth1.load(SERIES / "ETTh1.csv", 336)
    np.testing.assert_allclose(parts["train"].values.mean(0), 0, atol=1e-4)
    counts = {H: len(etth1.windows(parts["test"], 336, H)[0]) for H in (24, 96, 192)}
    assert counts == {24: 2857, 96: 2785, 192: 2689}
    _, ahead = etth1.windows(parts["validation"], 336, 24)
    np.testing.assert_array_equal(parts["test"].values[24:336], ahead[-312:, 23])


@with_series
@pytest.mark.parametrize(
    ("name", "distance", "published"),
    [
        ("GunPoint", neighbours.euclid, 0.913),
        ("GunPoint", neighbours.warping, 0.907),
        ("BasicMotions", neighbours.warping, 0.975),
    ],
)
def test_nearest_neighbours_are_right_as_often_as_published(name, distance, published):
    train, test = ts.load(SERIES, name)
    found = neighbours.accuracy(distance(test, train), train, test)
    assert found == pytest.approx(published, abs=1e-3)
