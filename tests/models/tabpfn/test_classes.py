"""Labels: what is a class, and what is refused."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.tabpfn.classes import classes_of, heard, said


def objects(*values):
    made = np.empty(len(values), object)
    made[:] = values
    return made


@pytest.mark.parametrize(
    ("target", "classes", "codes"),
    [
        (np.array([3, -1, 3]), [-1, 3], [1, 0, 1]),
        (np.array([2, 7], np.uint8), [2, 7], [0, 1]),
        (np.array([True, False]), [False, True], [1, 0]),
        (np.array(["b", "a", "b"]), ["a", "b"], [1, 0, 1]),
        (objects("b", "a"), ["a", "b"], [1, 0]),
        (objects(True, False), [False, True], [1, 0]),
        (objects(2, 1.0), [1, 2], [1, 0]),
        (np.array([1.0, 0.0]), [0, 1], [1, 0]),
    ],
)
def test_classes_are_sorted_and_survive_json(target, classes, codes):
    found, numbers = classes_of(target, most=10)
    assert found.tolist() == classes
    assert numbers.tolist() == codes
    assert numbers.dtype == np.int64
    again = heard(json.loads(json.dumps(said(found))))
    assert again.tolist() == classes
    assert again.dtype == found.dtype


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        (np.array([1.0, 1.5]), InvalidInput, "row 1 is 1.5.*intervals"),
        (np.array([1.0, np.nan]), InvalidInput, "row 1 is nan"),
        (np.array([np.inf, 1.0]), InvalidInput, "row 0 is inf"),
        (np.array([1.0, 1e300]), InvalidInput, "row 1 is 1e"),
        (objects("a", "a\0"), InvalidInput, "NUL"),
        (objects("a", "b" * 70_000), InvalidInput, "70000 characters.*give it a name"),
        (objects("a", None), InvalidInput, "row 1 is missing.*drop"),
        (objects("a", float("nan")), InvalidInput, "row 1 is missing"),
        (objects("a", 1), InvalidInput, "int, str.*one kind"),
        (objects(True, 2), InvalidInput, "bool, int.*one kind"),
        (objects([1], [2]), InvalidInput, "list.*labels are int"),
        (np.array([1j, 2]), InvalidInput, "complex128"),
        (np.array(["2020"], "datetime64[Y]"), InvalidInput, "datetime64"),
        (np.array([4, 4]), InvalidInput, "one class, 4"),
        (np.zeros(0), InvalidInput, "one label for each row"),
        (np.zeros((2, 1)), InvalidInput, r"shape \(2, 1\)"),
        (np.arange(11), Unsupported, "11 classes; more than 10 classes.*merge"),
    ],
)
def test_other_labels_are_refused_with_the_cure(target, error, words):
    with pytest.raises(error, match=words):
        classes_of(target, most=10)


def test_a_long_label_takes_its_own_length_only():
    target = objects("x" * 50_000, *["a", "b"] * 2500)
    tracemalloc.start()
    try:
        classes, codes = classes_of(target, most=10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert classes.tolist() == sorted(set(target.tolist()))
    assert codes[:3].tolist() == [2, 0, 1]
    assert peak < 50e6  # five thousand rows of it are 1 GB
