"""Server-sent events: an answer that is written as it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from foretoken.errors import Cancelled

__all__ = ["DONE", "Events", "event"]

DONE = b"data: [DONE]\n\n"  # after the last


def event(said: Mapping[str, Any], kind: str = "") -> bytes:
    """One event, as the wire has it.

    Args:
        said: what JSON can say.
        kind: of the event; those without one are messages.
    """
    # In ASCII, for errors may repeat lone surrogates of the caller's, which UTF-8 cannot say.
    data = f"data: {json.dumps(said, separators=(',', ':'))}\n\n"
    return (f"event: {kind}\n{data}" if kind else data).encode()


class Events(Response):
    """Writes events as they come; when the caller goes, nothing more is asked of them.

    Args:
        parts: events, one or several at a time.
        work: that they tell of; it is cancelled when they have ended.
    """

    def __init__(self, parts: AsyncGenerator[bytes, None], work: asyncio.Future[Any]) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-cache"
        self.headers["x-accel-buffering"] = "no"  # proxies are not to gather them
        self._parts, self._work = parts, work
        # What whoever follows the answer makes of an error, and hears at the end.
        self.failed: Callable[[Exception], Mapping[str, Any]] = lambda error: {"error": str(error)}
        self.ended: Callable[[BaseException | None], None] = lambda _error: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See Starlette's ``Response``."""
        error: BaseException | None = None
        writing = asyncio.ensure_future(self._write(send))
        gone = asyncio.ensure_future(receive())  # there is no more of the body
        try:
            await asyncio.wait({writing, gone}, return_when=asyncio.FIRST_COMPLETED)
            error = writing.result() if writing.done() else Cancelled("the caller has gone")
        except BaseException as e:
            error = e
            raise
        finally:
            for task in (writing, gone, self._work):
                task.cancel()
            await asyncio.gather(writing, gone, self._work, return_exceptions=True)
            await self._parts.aclose()
            self.ended(error)

    async def _write(self, send: Send) -> Exception | None:
        """Write all parts; an error is the last event, and returned."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        error = None
        try:
            async for part in self._parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except Exception as e:
            error = e
            last = event(self.failed(e), "error")
            await send({"type": "http.response.body", "body": last, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return error
