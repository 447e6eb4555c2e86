"""The application behind the HTTP port: routes of all doors' pages, errors, bounds."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from foretoken.errors import ForetokenError
from foretoken.server.doors.telling import telling
from foretoken.server.doors.web.answers import refused, told
from foretoken.server.doors.web.bounds import Bounded
from foretoken.server.settings import Settings

__all__ = ["application"]


def application(routes: Sequence[BaseRoute], settings: Settings) -> Starlette:
    """Routes as one application, whose errors are JSON and whose requests are bounded."""
    return Starlette(
        routes=routes,
        middleware=[Middleware(Bounded, body=settings.message_bytes, seconds=settings.deadline)],
        exception_handlers={
            HTTPException: refused,
            ForetokenError: told(telling(settings.data_dir)),
        },
    )
