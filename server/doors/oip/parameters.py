"""Parameters of a request: those of the protocol become terms, the others are the task's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from foretoken.errors import InvalidInput
from foretoken.proto import grpc_service as oip
from foretoken.server.doors.tasks.base import Parameter
from foretoken.server.terms import Terms

__all__ = ["DEFAULT_LEVEL", "FINAL", "STEP", "Sequence", "own", "sequence", "terms"]

DEFAULT_LEVEL = 100  # priority 0 stands for it; 1 is the most urgent
FINAL = "triton_enable_empty_final_response"
STEP = "sequence_step"  # our own addition: how far a sequence must have come, and how far it has
SEQUENCE = ("sequence_id", "sequence_start", "sequence_end", STEP)
PROTOCOL = frozenset((*SEQUENCE, "priority", "timeout", FINAL))


@dataclass(frozen=True)
class Sequence:
    """Which sequence a request belongs to, and where in it.

    Args:
        id: neither 0 nor empty; 3 and "3" are two.
        start: of a new one.
        end: nothing comes after it.
        step: observations that must have come before it; None: not said.
    """

    id: int | str
    start: bool
    end: bool
    step: int | None


def own(request: oip.ModelInferRequest) -> dict[str, Parameter]:
    """The parameters that are not the protocol's, by name."""
    given = request.parameters
    return {name: _value(name, given[name]) for name in given if name not in PROTOCOL}


def sequence(request: oip.ModelInferRequest) -> Sequence | None:
    """The sequence that a request belongs to, if it belongs to one.

    Raises:
        InvalidInput: if a parameter of sequences has no acceptable value.
    """
    there = request.parameters
    given = {name: _value(name, there[name]) for name in SEQUENCE if name in there}
    if not given:
        return None
    start, end = _expect_bool(given, "sequence_start"), _expect_bool(given, "sequence_end")
    named = given.get("sequence_id", 0)
    if isinstance(named, bool | float):
        raise InvalidInput(f"parameter 'sequence_id' must be an integer or a string, not {named!r}")
    step = _integer(given, STEP) if STEP in given else None
    if named:
        return Sequence(named, start, end, step)
    if start or end or step is not None:
        raise InvalidInput(
            f"sequence_start, sequence_end and {STEP} belong to a sequence_id; none is given"
        )
    return None


def terms(request: oip.ModelInferRequest, call: Terms) -> Terms:
    """The call's terms with what the request adds: an id as key, a priority, an earlier deadline.

    Raises:
        InvalidInput: if a parameter of the protocol has no acceptable value.
    """
    key = request.id or call.key
    if not request.parameters:
        if key == call.key:
            return call
        return Terms(call.caller, call.deadline, call.priority, key, call.request_id)
    given = {name: _value(name, value) for name, value in request.parameters.items()}
    _refuse_reserved(given)
    priority = _integer(given, "priority")
    timeout = _integer(given, "timeout")
    return Terms(
        call.caller,
        min(call.deadline, time.monotonic() + timeout / 1e6) if timeout else call.deadline,
        DEFAULT_LEVEL - priority if priority else call.priority,
        key,
        call.request_id,
    )


def _value(name: str, parameter: oip.InferParameter) -> Parameter:
    which = parameter.WhichOneof("parameter_choice")
    if which is None:
        raise InvalidInput(f"parameter {name!r} has no value")
    value: Parameter = getattr(parameter, which)
    return value


def _integer(given: Mapping[str, Parameter], name: str) -> int:
    value = given.get(name, 0)
    if type(value) is not int or value < 0:
        raise InvalidInput(f"parameter {name!r} must be an integer of at least 0, not {value!r}")
    return value


def _refuse_reserved(given: Mapping[str, Parameter]) -> None:
    for name in given:
        if name.startswith("triton_") and name != FINAL:
            raise InvalidInput(
                f"parameter {name!r} is reserved; of those that begin with 'triton_' only "
                f"{FINAL!r} is accepted"
            )
    _expect_bool(given, FINAL)


def _expect_bool(given: Mapping[str, Parameter], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"parameter {name!r} must be a bool, not {value!r}")
    return value
