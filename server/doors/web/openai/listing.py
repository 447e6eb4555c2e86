"""``/v1/models``: the models that a caller sees."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from foretoken.server.registry.records import Model
from foretoken.server.terms import Caller

if TYPE_CHECKING:
    from foretoken.server.doors.web.openai.calls import Call
    from foretoken.server.plane import Plane
    from foretoken.server.registry.registry import Registry

__all__ = ["Listing"]

OWNER = "foretoken"  # of models that are everybody's


class Listing:
    """Answers calls.

    Args:
        plane: whose models are listed.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def answer(self, call: Call) -> Response:
        """All models that the caller sees, whatever their task."""
        found = await asyncio.to_thread(_listed, self._plane.registry, call.terms.caller)
        data = [
            {
                "id": model.name,
                "object": "model",
                "created": int(model.created.timestamp()),
                "owned_by": model.owner or OWNER,
            }
            for model in found
        ]
        return JSONResponse({"object": "list", "data": data})


def _listed(registry: Registry, caller: Caller) -> list[Model]:
    """All models that the caller sees and that are served, by name."""
    found: list[Model] = []
    after = None
    while page := registry.models(after):
        found += [model for model in page if model.served and caller.sees(model.owner)]
        after = page[-1].name
    return found
