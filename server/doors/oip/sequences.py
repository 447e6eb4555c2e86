"""Requests that belong to sequences: one observation or several each, answered in their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.contract import Array
from foretoken.models.tasks import SequenceRequest, Task
from foretoken.proto import grpc_service as oip
from foretoken.server.doors import tasks
from foretoken.server.doors.oip.names import reference
from foretoken.server.doors.oip.parameters import STEP, Sequence, own
from foretoken.server.doors.oip.replies import reply, requested
from foretoken.server.doors.oip.tensors import decoded, expected
from foretoken.server.doors.service import Call
from foretoken.server.doors.tasks import base
from foretoken.server.doors.tasks.base import Limits, Parameter
from foretoken.server.plane import Answers
from foretoken.server.sessions.asked import Asked, Stepped, key_of
from foretoken.server.sessions.sequences import Sequences
from foretoken.server.sessions.session import SessionOptions
from foretoken.server.terms import Terms

__all__ = ["ForwardedCall", "SequenceInference"]

DURABLE_STEP = "sequence_durable_step"
SESSIONS = ("deterministic", "durable", "checkpoint_every")  # the others are the family's


@dataclass
class ForwardedCall:
    """A call that another worker has taken, and sees to the end of."""

    terms: Terms
    metadata: Mapping[str, str] = field(default_factory=dict)

    def answered(self, answers: Answers) -> None:
        """The other worker counts the call."""


class SequenceInference:
    """Answers requests of sequences.

    Args:
        sequences: that there are; None: none are kept.
        limits: of a request.
    """

    def __init__(self, sequences: Sequences | None, limits: Limits) -> None:
        self._sequences = sequences
        self._limits = limits
        self._codec = tasks.codec(Task.SEQUENCE)
        self._inputs = expected(self._codec.inputs)

    async def infer(
        self, request: oip.ModelInferRequest, belongs: Sequence, terms: Terms, call: Call
    ) -> oip.ModelInferResponse:
        """Answer one request.

        Raises:
            InvalidInput: naming the tensor, output or parameter that is not acceptable, or if there
                is no such sequence.
            Unsupported: if the model keeps no state, or this server no sequences.
            And what ``Sequences.ask`` raises.
        """
        if self._sequences is None:
            raise Unsupported("this server keeps no sequences")
        model = reference(request.model_name, request.model_version)
        names = requested(request, self._codec) if request.outputs else ()
        forwarded = isinstance(call, ForwardedCall)
        asked = Asked(
            key=key_of(terms.caller.tenant, model, belongs.id),
            model=model,
            id=belongs.id,
            values=partial(self._values, request, belongs),
            start=belongs.start,
            end=belongs.end,
            step=belongs.step,
            options=_options(own(request)) if belongs.start else SessionOptions(),
            packed=None if forwarded else request.SerializeToString,
        )
        answer = await self._sequences.ask(asked, terms)
        if isinstance(answer, bytes):
            return oip.ModelInferResponse.FromString(answer)
        answers = Answers([answer.reply], answer.version, answer.seconds)
        call.answered(answers)
        _expect_outputs(names, answer)
        nothing = base.Asked(())
        response = reply(request.id, answers, self._codec, nothing, names)
        response.parameters[STEP].int64_param = answer.step
        if answer.durable_step is not None:
            response.parameters[DURABLE_STEP].int64_param = answer.durable_step
        return response

    def _values(self, request: oip.ModelInferRequest, belongs: Sequence) -> Array:
        tensors = decoded(request, self._inputs, self._limits)
        if not belongs.start and (given := own(request)):
            raise InvalidInput(
                f"parameters {', '.join(sorted(given))}: a sequence is given its options by the "
                "request that starts it"
            )
        decode = self._codec.decode(tensors, {}, self._limits)
        (asked,) = decode.requests
        assert isinstance(asked, SequenceRequest)
        return asked.values


def _options(given: Mapping[str, Parameter]) -> SessionOptions:
    every = given.get("checkpoint_every", 0)
    if type(every) is not int or every < 0:
        raise InvalidInput(
            f"parameter 'checkpoint_every' must be an integer of at least 0, not {every!r}"
        )
    return SessionOptions(
        base.options({name: given[name] for name in given if name not in SESSIONS}),
        deterministic=_truth(given, "deterministic"),
        durable=_truth(given, "durable"),
        every=every,
    )


def _truth(given: Mapping[str, Parameter], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"parameter {name!r} must be a bool, not {value!r}")
    return value


def _expect_outputs(names: Iterable[str], answer: Stepped) -> None:
    outputs = answer.reply.outputs
    if unknown := [name for name in names if name not in outputs]:
        raise InvalidInput(
            f"no output {unknown[0]!r}; there are {', '.join(outputs)}. The observations have been "
            f"taken in: the sequence is at step {answer.step}"
        )
