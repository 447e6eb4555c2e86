"""ModelInfer: a request's tensors to typed requests, the plane's replies to tensors."""

from __future__ import annotations

import asyncio

from foretoken.models.tasks import Task
from foretoken.proto import grpc_service as oip
from foretoken.server.doors import tasks
from foretoken.server.doors.oip.names import reference
from foretoken.server.doors.oip.parameters import own, sequence, terms
from foretoken.server.doors.oip.replies import reply, requested
from foretoken.server.doors.oip.sequences import SequenceInference
from foretoken.server.doors.oip.tensors import Inputs, decoded, expected
from foretoken.server.doors.service import Call
from foretoken.server.doors.tasks.base import Asked, Codec, Kept, Limits
from foretoken.server.doors.texts import TextLimits
from foretoken.server.plane import Answers, Plane
from foretoken.server.registry.loaded import Loaded
from foretoken.server.sessions.sequences import Sequences
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

__all__ = ["Inference"]

_AT_ONCE = 1000  # microseconds of encoding that the event loop may be held up


class _Form:
    """How a task's tensors look."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.inputs: Inputs = expected(codec.inputs)


class Inference:
    """Answers requests for inference.

    Args:
        plane: that answers them.
        settings: for the limits.
        sequences: that there are; None: none are kept.
    """

    def __init__(
        self, plane: Plane, settings: Settings, sequences: Sequences | None = None
    ) -> None:
        self._plane = plane
        texts = TextLimits.of(settings)
        self._limits = Limits(settings.request_tokens, settings.message_bytes, texts)
        self._forms: dict[Task, _Form] = {}
        self._sequences = SequenceInference(sequences, self._limits)

    async def infer(self, request: oip.ModelInferRequest, call: Call) -> oip.ModelInferResponse:
        """Answer one request.

        Raises:
            InvalidInput: naming the tensor, output or parameter that is not acceptable.
            Unsupported: for sequences of models that keep no state, shared memory and
                classification.
            NotFound: if there is no such model, version or alias; and whatever the plane raises.
        """
        asked_terms = terms(request, call.terms)
        if request.parameters and (belongs := sequence(request)) is not None:
            return await self._sequences.infer(request, belongs, asked_terms, call)
        ref = reference(request.model_name, request.model_version)
        loaded = await self._plane.describe(ref, asked_terms)
        self._plane.expect_time(loaded, asked_terms)
        form = self._forms.get(loaded.family.task) or self._form(loaded.family.task)
        limits, codec = self._limits, form.codec
        tensors = decoded(request, form.inputs, limits)
        asked = codec.decode(tensors, own(request) if request.parameters else {}, limits)
        names = requested(request, codec) if request.outputs else ()
        answers = await self._answers(loaded, asked, asked_terms)
        call.answered(answers)
        if codec.work(asked) > _AT_ONCE:
            return await asyncio.to_thread(reply, request.id, answers, codec, asked, names)
        return reply(request.id, answers, codec, asked, names)

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
