"""ModelInfer: a request's tensors to typed requests, the plane's replies to tensors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.contract import Array
from foretoken.models.tasks import Task
from foretoken.proto import grpc_service as oip
from foretoken.server.doors import tasks
from foretoken.server.doors.oip.datatypes import encoded
from foretoken.server.doors.oip.names import reference
from foretoken.server.doors.oip.parameters import own, terms
from foretoken.server.doors.oip.tensors import Inputs, decoded, expected
from foretoken.server.doors.service import Call
from foretoken.server.doors.tasks.base import Asked, Codec, Limits
from foretoken.server.doors.tasks.tabular import Kept
from foretoken.server.plane import Answers, Plane
from foretoken.server.registry.loaded import Loaded
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

__all__ = ["Inference"]

_AT_ONCE = 1000  # microseconds of encoding that the event loop may be held up


class _Form:
    """How a task's tensors look."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.inputs: Inputs = expected(codec.inputs)
        self.outputs = frozenset(tensor.name for tensor in codec.outputs)


class Inference:
    """Answers requests for inference.

    Args:
        plane: that answers them.
        settings: for the limits.
    """

    def __init__(self, plane: Plane, settings: Settings) -> None:
        self._plane = plane
        self._limits = Limits(settings.request_tokens, settings.message_bytes)
        self._forms: dict[Task, _Form] = {}

    async def infer(self, request: oip.ModelInferRequest, call: Call) -> oip.ModelInferResponse:
        """Answer one request.

        Raises:
            InvalidInput: naming the tensor, output or parameter that is not acceptable.
            Unsupported: for sequences, shared memory and classification.
            NotFound: if there is no such model, version or alias; and whatever the plane raises.
        """
        asked_terms = terms(request, call.terms)
        ref = reference(request.model_name, request.model_version)
        loaded = await self._plane.describe(ref, asked_terms)
        self._plane.expect_time(loaded, asked_terms)
        form = self._forms.get(loaded.family.task) or self._form(loaded.family.task)
        limits, codec = self._limits, form.codec
        tensors = decoded(request, form.inputs, limits)
        asked = codec.decode(tensors, own(request) if request.parameters else {}, limits)
        names = _requested(request, form) if request.outputs else ()
        answers = await self._answers(loaded, asked, asked_terms)
        call.answered(answers)
        if codec.work(asked) > _AT_ONCE:
            return await asyncio.to_thread(_reply, request.id, answers, codec, asked, names)
        return _reply(request.id, answers, codec, asked, names)

    async def _answers(self, loaded: Loaded, asked: Asked, asked_terms: Terms) -> Answers:
        if not asked.fit:
            return await self._plane.answer(loaded, asked.requests, asked_terms)
        (request,) = asked.requests
        fitted = await self._plane.fit(loaded.version.ref, request, asked_terms)
        kept = Kept(fitted.context.id)
        return Answers([kept], fitted.version, fitted.seconds, (fitted.cached,))

    def _form(self, task: Task) -> _Form:
        form = self._forms[task] = _Form(tasks.codec(task))
        return form


def _requested(request: oip.ModelInferRequest, form: _Form) -> Sequence[str]:
    """The outputs that a request asks for, in its order."""
    names = [output.name for output in request.outputs]
    for output in request.outputs:
        if output.parameters:
            _refuse_parameters(output)
        if form.outputs and output.name not in form.outputs:
            there = ", ".join(tensor.name for tensor in form.codec.outputs)
            raise InvalidInput(f"no output {output.name!r}; there are {there}")
    if len(set(names)) < len(names):
        raise InvalidInput(f"an output is asked for twice: {', '.join(names)}")
    return names


def _refuse_parameters(output: oip.ModelInferRequest.InferRequestedOutputTensor) -> None:
    given = ", ".join(sorted(output.parameters))
    if "classification" in output.parameters or "shared_memory_region" in output.parameters:
        raise Unsupported(
            f"output {output.name!r} is asked for with {given}: this server neither classifies nor "
            "writes to shared memory; ask for the tensor itself"
        )
    raise InvalidInput(f"output {output.name!r} has parameters ({given}); outputs take none")


def _reply(
    request_id: str, answers: Answers, codec: Codec, asked: Asked, names: Sequence[str]
) -> oip.ModelInferResponse:
    """The outputs ``names``, or all of them, as raw bytes."""
    version, replies, hits = answers.version, answers.replies, answers.hits
    response = oip.ModelInferResponse(
        model_name=version.name, model_version=str(version.number), id=request_id
    )
    if hits and None not in hits:
        response.parameters["cache"].string_param = "HIT" if all(hits) else "MISS"
    for name in names or codec.names(replies):
        array: Array = codec.encode(name, replies, asked)
        datatype, raw = encoded(array)
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        response.raw_output_contents.append(raw)
    return response
