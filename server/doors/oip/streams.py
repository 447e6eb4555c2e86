"""ModelStreamInfer: several requests of a stream at once, answered in the order they came."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TypeAlias

from foretoken.errors import ForetokenError, InvalidInput, Overloaded, Unauthenticated
from foretoken.proto import grpc_service as oip
from foretoken.server.doors.oip.infer import Inference
from foretoken.server.doors.oip.parameters import FINAL
from foretoken.server.doors.service import Call, Stream
from foretoken.server.doors.status import describe
from foretoken.server.doors.telling import telling
from foretoken.server.plane import Answers
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

__all__ = ["Streams"]

TURNS = 64  # requests of one stream that may wait for their answers; then it is read no further
FINAL_RESPONSE = "triton_final_response"

Turn: TypeAlias = tuple[oip.ModelStreamInferResponse, ForetokenError | None]
Turns: TypeAlias = asyncio.Queue[asyncio.Task[Turn] | None]


class _Turn:
    """The call of one request of a stream: its deadline is its own."""

    def __init__(self, call: Call, terms: Terms) -> None:
        self._call = call
        self.terms = terms
        self.metadata = call.metadata

    def answered(self, answers: Answers) -> None:
        self._call.answered(answers)


class Streams:
    """Answers streams of requests for inference.

    Args:
        inference: answers one request.
        settings: for the deadline of requests that bring none, and the data dir.
    """

    def __init__(self, inference: Inference, settings: Settings) -> None:
        self._inference = inference
        self._deadline = settings.deadline
        self._tell = telling(settings.data_dir)

    async def infer(self, stream: Stream, call: Call) -> None:
        """Answer every request of the stream; it ends when the caller ends it.

        An error is the answer of its request alone, as a message, unless the stream's metadata say
        ``triton_grpc_error: true``: then the first one ends the stream with its status.

        Raises:
            ForetokenError: then.
        """
        strict = call.metadata.get("triton_grpc_error", "").lower() == "true"
        turns: Turns = asyncio.Queue(TURNS)
        refused: ForetokenError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_write(stream, turns, strict=strict))
                try:
                    while (request := await stream.read()) is not None:
                        turn = self._turn(request, call, stream, stream.keep())
                        await turns.put(group.create_task(turn))
                        del request, turn  # it may be large, and the next may be long in coming
                except (InvalidInput, Overloaded, Unauthenticated) as e:
                    # What came before is answered first. Cutting a write short instead would leave
                    # the caller without a status: gRPC sends none while a message is on its way.
                    refused = e
                await turns.put(None)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        if refused is not None:
            raise refused

    async def _turn(
        self, request: oip.ModelInferRequest, call: Call, stream: Stream, size: int
    ) -> Turn:
        try:
            return await self._answer(request, call)
        finally:
            stream.let_go(size)

    async def _answer(self, request: oip.ModelInferRequest, call: Call) -> Turn:
        deadline = min(call.terms.deadline, time.monotonic() + self._deadline)
        response = oip.ModelStreamInferResponse()
        error = None
        try:
            turn = _Turn(call, replace(call.terms, deadline=deadline))
            response.infer_response.CopyFrom(await self._inference.infer(request, turn))
        except ForetokenError as e:
            error = e
            response.error_message = describe(e, self._tell) or type(e).__name__
            response.infer_response.id = request.id
        if FINAL in request.parameters and request.parameters[FINAL].bool_param:
            response.infer_response.parameters[FINAL_RESPONSE].bool_param = True
        return response, error


async def _write(stream: Stream, turns: Turns, *, strict: bool) -> None:
    while (turn := await turns.get()) is not None:
        response, error = await turn
        if strict and error is not None:
            raise error
        await stream.write(response)
