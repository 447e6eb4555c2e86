"""What a request adds to the terms of its call."""

from __future__ import annotations

import time

import pytest

from foretoken.errors import InvalidInput
from foretoken.proto import grpc_service as oip
from foretoken.server.doors.oip.parameters import DEFAULT_LEVEL, Sequence, own, sequence, terms
from foretoken.server.terms import LOCAL, Terms
from tests.server.doors.oip.door import set_parameters


def asked(parameters, **fields):
    made = oip.ModelInferRequest(**fields)
    set_parameters(made, parameters)
    return made


def test_a_request_that_adds_nothing_changes_nothing():
    call = Terms(deadline=7.0, key="mine")
    assert terms(asked({}), call) is call
    assert terms(asked({}, id="mine"), call) is call


def test_the_id_becomes_the_key():
    call = Terms(LOCAL, 7.0, 3, "call", "logged")
    assert terms(asked({}, id="mine"), call) == Terms(LOCAL, 7.0, 3, "mine", "logged")


def test_the_earlier_of_timeout_and_deadline_counts():
    now = time.monotonic()
    short = terms(asked({"timeout": 2_000_000}), Terms(deadline=now + 60))
    assert 1.9 < short.deadline - now < 2.5
    assert terms(asked({"timeout": 2_000_000}), Terms(deadline=now + 1)).deadline == now + 1
    assert terms(asked({"timeout": 0}), Terms(deadline=now + 60)).deadline == now + 60


def test_the_smallest_priority_goes_first_and_none_is_in_the_middle():
    levels = [1, DEFAULT_LEVEL - 1, 0, DEFAULT_LEVEL + 1, (1 << 63) - 1]
    found = [terms(asked({"priority": level}), Terms()).priority for level in levels]
    assert found == sorted(found, reverse=True)
    assert found[2] == 0


def test_a_priority_may_be_unsigned():
    made = oip.ModelInferRequest()
    made.parameters["priority"].uint64_param = (1 << 64) - 1
    assert terms(made, Terms()).priority < 0


@pytest.mark.parametrize(
    "parameters",
    [
        {"timeout": 1.5},
        {"timeout": "1"},
        {"priority": True},
        {"priority": -1},
    ],
)
def test_values_of_other_types_are_refused(parameters):
    with pytest.raises(InvalidInput, match=next(iter(parameters))):
        terms(asked(parameters), Terms())


def test_the_task_is_given_its_own_parameters_only():
    made = asked({"timeout": 5, "priority": 1, "sequence_id": 0, "minimize": True, "soft_low": 0.5})
    assert own(made) == {"minimize": True, "soft_low": 0.5}


def test_requests_without_an_id_belong_to_no_sequence():
    for parameters in ({}, {"sequence_id": 0}, {"sequence_id": ""}, {"priority": 1}):
        assert sequence(asked(parameters)) is None
    none = {"sequence_id": 0, "sequence_start": False, "sequence_end": False}
    assert sequence(asked(none)) is None


def test_an_id_is_a_number_or_a_string():
    assert sequence(asked({"sequence_id": 3})) == Sequence(3, start=False, end=False, step=None)
    found = sequence(asked({"sequence_id": "3", "sequence_start": True, "sequence_step": 0}))
    assert found == Sequence("3", start=True, end=False, step=0)
    made = asked({"sequence_end": True})
    made.parameters["sequence_id"].uint64_param = (1 << 64) - 1
    assert sequence(made) == Sequence((1 << 64) - 1, start=False, end=True, step=None)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"sequence_id": 0.5}, "an integer or a string"),
        ({"sequence_id": True}, "an integer or a string"),
        ({"sequence_id": 3, "sequence_start": 1}, "'sequence_start' must be a bool"),
        ({"sequence_id": 3, "sequence_end": "yes"}, "'sequence_end' must be a bool"),
        ({"sequence_id": 3, "sequence_step": -1}, "'sequence_step' must be an integer"),
        ({"sequence_start": True}, "none is given"),
        ({"sequence_id": "", "sequence_end": True}, "none is given"),
        ({"sequence_step": 0}, "none is given"),
    ],
)
def test_what_says_nothing_of_a_sequence_is_refused(parameters, told):
    with pytest.raises(InvalidInput, match=told):
        sequence(asked(parameters))


def test_parameters_of_sequences_are_not_the_task_s():
    made = {"sequence_id": 3, "sequence_start": True, "sequence_step": 0, "scale": 2.0}
    assert own(asked(made)) == {"scale": 2.0}
