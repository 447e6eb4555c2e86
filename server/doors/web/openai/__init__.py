"""OpenAI's API: embeddings, completions and chats by the models that are served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from foretoken.server.doors.gate import Gate
from foretoken.server.doors.texts import TextLimits
from foretoken.server.doors.web.openai.calls import Calls, Handler
from foretoken.server.doors.web.openai.chat import Chats
from foretoken.server.doors.web.openai.completions import Completions
from foretoken.server.doors.web.openai.embeddings import Embeddings
from foretoken.server.doors.web.openai.generating import Generating
from foretoken.server.doors.web.openai.listing import Listing
from foretoken.server.log import Log
from foretoken.server.settings import Settings

if TYPE_CHECKING:
    from foretoken.server.plane import Plane

__all__ = ["routes"]


def routes(plane: Plane, settings: Settings, gate: Gate, log: Log | None) -> list[Route]:
    """All paths.

    Args:
        plane: that answers.
        settings: for the limits.
        gate: says who calls, by the same tokens as for gRPC.
        log: has a record of each call, if there is one.
    """
    calls, limits = Calls(settings, gate, log), TextLimits.of(settings)
    posted: dict[str, Handler] = {
        "/v1/embeddings": Embeddings(plane, limits).answer,
        "/v1/completions": Generating(plane, Completions(limits)).answer,
        "/v1/chat/completions": Generating(plane, Chats(limits)).answer,
    }
    models = "/v1/models"
    return [
        *(
            Route(path, calls.endpoint(path, each), methods=["POST"])
            for path, each in posted.items()
        ),
        Route(models, calls.endpoint(models, Listing(plane).answer)),
    ]
