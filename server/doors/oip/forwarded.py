"""Requests of sequences that came to another worker than the one that has the sequence."""

from __future__ import annotations

from foretoken.proto import grpc_service as oip
from foretoken.server.doors.oip.infer import Inference
from foretoken.server.doors.oip.sequences import ForwardedCall
from foretoken.server.plane import Plane
from foretoken.server.sessions.sequences import Sequences
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

__all__ = ["Forwarded"]


class Forwarded:
    """Answers for other workers.

    Args:
        plane: of this worker.
        settings: for the limits.
        sequences: of this worker.
    """

    def __init__(self, plane: Plane, settings: Settings, sequences: Sequences) -> None:
        self._inference = Inference(plane, settings, sequences)

    async def answer(self, terms: Terms, packed: bytes) -> bytes:
        """Answer a ``ModelInferRequest``; both messages are bytes.

        Raises:
            Moved: if its sequence is not here.
            And what ``Inference.infer`` raises.
        """
        request = oip.ModelInferRequest.FromString(packed)
        response = await self._inference.infer(request, ForwardedCall(terms))
        return response.SerializeToString()
