"""Requests check themselves; what they refuse is named with what would be accepted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from foretoken.errors import InvalidInput
from foretoken.models import tasks
from foretoken.models.tasks import (
    CurveRequest,
    GenerationRequest,
    GraphRequest,
    SequenceRequest,
    TabularRequest,
    Task,
    TextRequest,
)


def curve(**changes):
    given = {
        "values": np.array([0.1, 0.2, 0.3]),
        "steps": np.array([1.0, 2.0, 4.0]),
        "at": np.array([5.0, 9.0]),
        "quantiles": np.array([0.1, 0.9]),
    }
    return CurveRequest(**{**given, **changes})


def test_a_good_curve_passes():
    assert curve().bounds == (0.0, 1.0)
    assert curve(at=np.array([2.0])).at.tolist() == [2.0], "may lie among the observed"
    assert curve(values=np.array([-5.0, 9.0, 1e9]), bounds=(-np.inf, np.inf)).minimize is False
    assert curve(quantiles=np.array([])).quantiles.size == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.array([0.1, 0.2])}, r"values \(2,\) and steps \(3,\)"),
        ({"values": np.zeros((3, 1)), "steps": np.zeros((3, 1))}, "two lists"),
        ({"values": np.array([]), "steps": np.array([])}, "steps must be a non-empty list"),
        ({"steps": np.array([1.0, 4.0, 2.0])}, r"entry 2 \(2\) is out of order"),
        ({"steps": np.array([1.0, 1.0, 2.0])}, r"entry 1 \(1\) is duplicate"),
        ({"steps": np.array([-1.0, 1.0, 2.0])}, "must not be negative; the first is -1"),
        ({"steps": np.array([1.0, np.nan, 2.0])}, "steps must be a non-empty list of finite"),
        ({"at": np.array([])}, "at must be a non-empty list"),
        ({"at": np.array([9.0, 5.0])}, r"at .* entry 1 \(5\) is out of order"),
        ({"at": np.array([np.inf])}, "at must be a non-empty list of finite"),
        ({"values": np.array([0.1, np.nan, 0.3])}, "entry 1 is nan: drop"),
        ({"values": np.array([0.1, 0.2, np.inf]), "bounds": (0, np.inf)}, "entry 2 is inf"),
        ({"values": np.array([0.1, 1.2, 0.3])}, r"1.2 at step 2 lies outside bounds \[0, 1\]"),
        ({"values": np.array([-0.1, 0.2, 0.3])}, "-0.1 at step 1 lies outside"),
        ({"bounds": (1.0, 0.0)}, "low < high"),
        ({"bounds": (np.nan, 1.0)}, "low < high"),
        ({"quantiles": np.array([0.5, 1.0])}, r"strictly between 0 and 1, not \[0.5, 1.0\]"),
        ({"quantiles": np.array([0.0])}, "strictly between"),
        ({"quantiles": np.array([np.nan])}, "strictly between"),
    ],
)
def test_a_bad_curve_is_refused(changes, message):
    with pytest.raises(InvalidInput, match=message):
        curve(**changes)


def test_a_table_needs_columns_of_one_length_and_the_same_names():
    a, b = np.zeros(2), np.zeros(3)
    TabularRequest({"x": a}, {"x": b}, np.array([0, 1, 1]))
    TabularRequest({"x": a})
    with pytest.raises(InvalidInput, match=r"test columns must have one length.*'y': 3"):
        TabularRequest({"x": a, "y": b})
    with pytest.raises(InvalidInput, match="train columns must have one length"):
        TabularRequest({"x": a, "y": a}, {"x": a, "y": b})
    with pytest.raises(InvalidInput, match=r"differing: \['y', 'z'\]"):
        TabularRequest({"x": a, "y": a}, {"x": b, "z": b})
    for shape in [(2, 2), ()]:
        with pytest.raises(InvalidInput, match=r"test column 'x' has shape \("):
            TabularRequest({"x": np.zeros(shape)})
        with pytest.raises(InvalidInput, match=r"train column 'y' has shape \("):
            TabularRequest({}, {"y": np.zeros(shape)})


def test_texts_must_be_some_and_are_cut_or_refused():
    assert TextRequest(("a",)).truncate == "end"
    with pytest.raises(InvalidInput, match="texts must not be empty"):
        TextRequest(())
    with pytest.raises(InvalidInput, match="'end' or 'error', not 'start'"):
        TextRequest(("a",), truncate="start")
    with pytest.raises(InvalidInput, match="dimensions must be 1 or more, not 0"):
        TextRequest(("a",), dimensions=0)


def test_texts_must_be_unicode():
    assert TextRequest(("", "zw\u00f6lf", "\U0001f600")).prompt is None
    with pytest.raises(InvalidInput, match="text 1 is not Unicode"):
        TextRequest(("a", "\ud83d"))
    with pytest.raises(InvalidInput, match="the prompt is not Unicode"):
        TextRequest(("a",), prompt="\ud83d")


@pytest.mark.parametrize("shape", [(3,), (0, 2), (2, 0), (1, 2, 3)])
def test_a_sequence_has_two_axes_of_at_least_one(shape):
    SequenceRequest(np.zeros((1, 1)))
    with pytest.raises(InvalidInput, match=r"values must be \[T, D\]"):
        SequenceRequest(np.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": np.array([], np.int64)}, "at least one token"),
        ({"prompt": np.zeros((1, 2), np.int64)}, "at least one token"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"prompt": np.zeros(1)}, "a text or a list"),
        ({"prompt": "\ud83d"}, "the prompt is not Unicode"),
        ({"logprobs": 21}, "logprobs is 0 to 20"),
        ({"stop": ("",)}, "none of them empty"),
        ({"stop": ("a",) * 17}, "at most 16"),
    ],
)
def test_a_bad_prompt_is_refused(changes, message):
    with pytest.raises(InvalidInput, match=message):
        GenerationRequest(**{"prompt": np.array([1]), "max_tokens": 1, **changes})


def test_a_request_tells_its_task():
    asked = {
        Task.CURVE: curve(),
        Task.TABULAR: TabularRequest({"x": np.zeros(1)}),
        Task.TEXT: TextRequest(("a",)),
        Task.GRAPH: GraphRequest(np.array([0]), np.array([1])),
        Task.SEQUENCE: SequenceRequest(np.zeros((1, 1))),
        Task.GENERATION: GenerationRequest(np.array([1]), 1),
    }
    assert {tasks.task_of(request) for request in asked.values()} == set(Task)
    for task, request in asked.items():
        assert tasks.task_of(request) is task
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(request, dataclasses.fields(request)[0].name, None)


def test_what_is_no_request_has_no_task():
    with pytest.raises(InvalidInput, match="is not a request"):
        tasks.task_of({"values": [1]})
