"""Errors as OpenAI says them: one object, under the status of the doors' table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from foretoken import errors
from foretoken.errors import CallerError, ForetokenError, InvalidInput, Overloaded
from foretoken.server.doors.status import describe, status_of
from foretoken.server.doors.telling import Tell

__all__ = ["BadField", "failure", "refusal", "said_of"]

_CODES: dict[type[ForetokenError], str] = {
    errors.NotFound: "model_not_found",
    errors.Unauthenticated: "invalid_api_key",
    errors.Overloaded: "rate_limit_exceeded",
}


class BadField(InvalidInput):
    """A field is not acceptable; ``param`` names it."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


def failure(error: ForetokenError, tell: Tell) -> Response:
    """The answer to a call that ended so; OpenAI's client tries again only what may succeed."""
    headers: dict[str, str] = {}
    if isinstance(error, Overloaded):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        headers["retry-after-ms"] = str(max(1, math.ceil(error.retry_after * 1000)))
    elif isinstance(error, CallerError):
        headers["x-should-retry"] = "false"
    if isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return _answer(said_of(error, tell), status_of(type(error)).http, headers)


def said_of(error: ForetokenError, tell: Tell) -> dict[str, Any]:
    """OpenAI's object for an error."""
    code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), None)
    status = status_of(type(error)).http
    return _said(status, describe(error, tell), getattr(error, "param", None), code)


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a call that the port itself has refused."""
    return _answer(_said(status, message), status, dict(headers or {}))


def _said(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _answer(said: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    # In ASCII, for what is told may hold lone surrogates of the caller's, which UTF-8 cannot say.
    return Response(json.dumps(said), status, dict(headers), media_type="application/json")
