"""Parameters of a request: those of the protocol become terms, the others are the task's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NoReturn

from foretoken.errors import InvalidInput, Unsupported
from foretoken.proto import grpc_service as oip
from foretoken.server.doors.tasks.base import Parameter
from foretoken.server.terms import Terms

__all__ = ["DEFAULT_LEVEL", "FINAL", "own", "terms"]

DEFAULT_LEVEL = 100  # priority 0 stands for it; 1 is the most urgent
FINAL = "triton_enable_empty_final_response"
PROTOCOL = frozenset(
    ("sequence_id", "sequence_start", "sequence_end", "priority", "timeout", FINAL)
)


def own(request: oip.ModelInferRequest) -> dict[str, Parameter]:
    """The parameters that are not the protocol's, by name."""
    given = request.parameters
    return {name: _value(name, given[name]) for name in given if name not in PROTOCOL}


def terms(request: oip.ModelInferRequest, call: Terms) -> Terms:
    """The call's terms with what the request adds: an id as key, a priority, an earlier deadline.

    Raises:
        InvalidInput: if a parameter of the protocol has no acceptable value.
        Unsupported: if the request belongs to a sequence.
    """
    key = request.id or call.key
    if not request.parameters:
        if key == call.key:
            return call
        return Terms(call.caller, call.deadline, call.priority, key, call.request_id)
    given = {name: _value(name, value) for name, value in request.parameters.items()}
    _refuse_reserved(given)
    _refuse_sequence(given)
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


def _refuse_sequence(given: Mapping[str, Parameter]) -> None:
    started = _expect_bool(given, "sequence_start")
    ended = _expect_bool(given, "sequence_end")
    sequence = given.get("sequence_id", 0)
    if isinstance(sequence, bool | float):
        raise InvalidInput(
            f"parameter 'sequence_id' must be an integer or a string, not {sequence!r}"
        )
    if sequence:
        _unsupported(sequence)
    if started or ended:
        raise InvalidInput("sequence_start and sequence_end belong to a sequence_id; none is given")


def _unsupported(sequence: int | str) -> NoReturn:
    raise Unsupported(
        f"sequence_id {sequence!r}: this server keeps no sequences yet; send what was observed so "
        "far with every request, without a sequence_id"
    )


def _expect_bool(given: Mapping[str, Parameter], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"parameter {name!r} must be a bool, not {value!r}")
    return value
