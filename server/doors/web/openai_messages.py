"""OpenAI's messages about embeddings: requests from JSON, replies and errors to it."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from foretoken import errors
from foretoken.errors import CallerError, ForetokenError, InvalidInput, Overloaded
from foretoken.models.tasks import TextReply, TextRequest
from foretoken.server.doors.parts import LARGE, MOST
from foretoken.server.doors.status import describe, status_of
from foretoken.server.doors.telling import Tell
from foretoken.server.doors.texts import TextLimits

__all__ = ["Asked", "BadField", "failure", "parsed", "refusal", "reply"]

FIELDS = frozenset({"model", "input", "encoding_format", "dimensions", "user"})
OURS = frozenset({"prompt", "truncate"})  # not OpenAI's
FORMATS = ("float", "base64")
ROWS = 32  # vectors that are written as numbers before others get their turn
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
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


@dataclass(frozen=True)
class Asked:
    """A request to embed.

    Args:
        model: as named.
        request: the texts, and how.
        as_base64: vectors are float32 in base64, rather than lists of numbers.
        cut: the reply tells what was cut, for callers who allow that.
    """

    model: str
    request: TextRequest
    as_base64: bool
    cut: bool


def parsed(body: bytes, limits: TextLimits) -> Asked:
    """The request that a body is.

    Raises:
        InvalidInput: naming the field that is not acceptable.
    """
    said = _object(body)
    if unknown := sorted(set(said) - FIELDS - OURS):
        raise BadField(
            unknown[0],
            f"there is no field {unknown[0]!r}; there are {', '.join(sorted(FIELDS))}, and of this "
            f"server {', '.join(sorted(OURS))}",
        )
    model, prompt = said.get("model"), said.get("prompt")
    if not isinstance(model, str) or not model:
        raise BadField("model", "model is the name of a registered model")
    if not isinstance(prompt, str | None):
        raise BadField("prompt", "prompt is a string, put before each text")
    form = said.get("encoding_format") or "float"
    if form not in FORMATS:
        raise BadField("encoding_format", f"encoding_format is one of {', '.join(FORMATS)}")
    dimensions, truncate = said.get("dimensions"), said.get("truncate")
    if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
        raise BadField("dimensions", "dimensions is the length of the vectors, 1 or more")
    if truncate not in (None, "end", "error"):
        raise BadField("truncate", "truncate is 'end' or 'error'")
    texts = _texts(said.get("input"), limits)
    # Like OpenAI's, the reply has no place for what was cut, unless the caller knows of it.
    request = TextRequest(texts, dimensions, prompt or None, truncate or "error")
    before = len((prompt or "").encode())
    limits.expect_short([len(text.encode()) for text in texts], before)
    return Asked(model, request, form == "base64", truncate == "end")


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > LARGE:
        _expect_few(body)
    try:
        said = json.loads(body)
    except UnicodeDecodeError as e:
        raise InvalidInput(f"the body is not UTF-8: {e.reason} at byte {e.start}") from e
    except (ValueError, RecursionError) as e:
        raise InvalidInput(f"the body is not JSON: {e}") from e
    if not isinstance(said, dict):
        raise InvalidInput("the body is a JSON object, with model and input")
    return said


def _expect_few(body: bytes) -> None:
    """Refuse JSON of many small values, which take many times its bytes, before it is parsed."""
    bare = _STRING.sub(b"", body)
    if sum(map(bare.count, (b",", b"[", b"{"))) > MOST:
        raise InvalidInput(f"the body has more than {MOST} values; send less at once")


def _texts(given: Any, limits: TextLimits) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, list) or not given:
        raise BadField("input", "input is a string or a list of strings, at least one")
    limits.expect_few(len(given))
    for i, text in enumerate(given):
        if isinstance(text, str):
            continue
        if isinstance(text, int | list) and not isinstance(text, bool):
            raise BadField(
                "input",
                "input holds token ids, which are those of another model's tokenizer; send text",
            )
        raise BadField("input", f"input is a string or a list of strings; element {i} is neither")
    return tuple(given)


async def reply(asked: Asked, made: TextReply, answered: str) -> Response:
    """OpenAI's answer.

    Args:
        asked: what is answered.
        made: the vectors.
        answered: the version.
    """
    parts = []
    for start in range(0, len(made.vectors), ROWS):
        if start:
            await asyncio.sleep(0)
        for i, row in enumerate(made.vectors[start : start + ROWS].astype("<f4"), start):
            written = (
                f'"{base64.b64encode(row.tobytes()).decode()}"'
                if asked.as_base64
                else json.dumps(row.tolist(), separators=(",", ":"))
            )
            parts.append(f'{{"object":"embedding","index":{i},"embedding":{written}}}')
    tokens = int(made.tokens.sum())
    rest: dict[str, Any] = {
        "model": answered,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    if asked.cut:
        rest["cut"] = made.cut.tolist()
    body = f'{{"object":"list","data":[{",".join(parts)}],{json.dumps(rest)[1:]}'
    return Response(body, media_type="application/json")


def failure(error: ForetokenError, tell: Tell) -> Response:
    """An error as OpenAI says it; its client tries again only what may then succeed."""
    headers: dict[str, str] = {}
    if isinstance(error, Overloaded):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        headers["retry-after-ms"] = str(max(1, math.ceil(error.retry_after * 1000)))
    elif isinstance(error, CallerError):
        headers["x-should-retry"] = "false"
    if isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), None)
    status = status_of(type(error)).http
    return refusal(status, describe(error, tell), getattr(error, "param", None), code, headers)


def refusal(
    status: int,
    message: str,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """OpenAI's error object under a status."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    said = {"message": message, "type": kind, "param": param, "code": code}
    # In ASCII, for what is told may hold lone surrogates of the caller's, which UTF-8 cannot say.
    body = json.dumps({"error": said})
    return Response(body, status, dict(headers or {}), media_type="application/json")
