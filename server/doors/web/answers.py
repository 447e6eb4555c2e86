"""Errors as HTTP answers: JSON with a type and a message, under the status of the doors' table."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from foretoken.errors import ForetokenError, Overloaded
from foretoken.server.doors.status import describe, status_of
from foretoken.server.doors.telling import Tell

__all__ = ["failure", "refusal", "refused", "told"]


def failure(error: ForetokenError, tell: Tell = str) -> Response:
    """The answer to a request that ended with an error of the tree."""
    headers = {}
    if isinstance(error, Overloaded):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    status = status_of(type(error)).http
    return _answer(type(error).__name__, describe(error, tell), status, headers)


def refusal(status: int, message: str) -> HTTPException:
    """An error of HTTP's own, which says nothing of a model; the connection ends with it."""
    return HTTPException(status, message, {"connection": "close"})


def told(tell: Tell) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Starlette's handler of ``ForetokenError``."""

    async def handler(request: Request, error: Exception) -> Response:  # noqa: ARG001
        if not isinstance(error, ForetokenError):
            raise error
        return failure(error, tell)

    return handler


async def refused(request: Request, error: Exception) -> Response:
    """Starlette's handler of ``HTTPException``: unknown paths, wrong methods, large bodies."""
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    message = error.detail
    if error.status_code == HTTPStatus.NOT_FOUND:
        message = "there is nothing at this path; / lists what there is"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(headers.get("Allow", "").split(", ")))
        message = f"{request.method} is not answered at this path; it takes {headers['Allow']}"
    kind = HTTPStatus(error.status_code).phrase.title().replace(" ", "")
    return _answer(kind, message, error.status_code, headers)


def _answer(kind: str, message: str, status: int, headers: Mapping[str, str]) -> Response:
    return JSONResponse({"error": {"type": kind, "message": message}}, status, dict(headers))
