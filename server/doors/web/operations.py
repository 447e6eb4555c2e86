"""What those who run the server ask it: is it alive, is it ready, what has it done."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from foretoken.server.metrics import Metrics

__all__ = ["routes"]


def routes(metrics: Metrics, ready: Callable[[], bool]) -> list[Route]:
    """``/metrics``, ``/healthz`` and ``/readyz``."""
    was_ready = False

    async def healthz(request: Request) -> Response:  # noqa: ARG001
        return PlainTextResponse("alive\n", headers={"cache-control": "no-store"})

    async def readyz(request: Request) -> Response:  # noqa: ARG001
        nonlocal was_ready
        now = ready()
        was_ready = was_ready or now
        reason = "ready" if now else "not ready: " + ("draining" if was_ready else "loading")
        headers = {"cache-control": "no-store"}
        return PlainTextResponse(f"{reason}\n", 200 if now else 503, headers)

    async def shown(request: Request) -> Response:
        text, content_type = await metrics.text(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type, "cache-control": "no-store"})

    return [
        Route("/metrics", shown),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
    ]
