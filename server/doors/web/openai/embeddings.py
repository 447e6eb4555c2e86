"""``/v1/embeddings``: requests from JSON, replies to it."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from foretoken.models.tasks import TextReply, TextRequest
from foretoken.server.doors.texts import TextLimits
from foretoken.server.doors.web.openai.bodies import expect_known, model_of, object_of
from foretoken.server.doors.web.openai.errors import BadField

if TYPE_CHECKING:
    from foretoken.server.doors.web.openai.calls import Call
    from foretoken.server.plane import Plane

__all__ = ["Embeddings"]

FIELDS = frozenset({"model", "input", "encoding_format", "dimensions", "user"})
OURS = frozenset({"prompt", "truncate"})  # not OpenAI's
FORMATS = ("float", "base64")
ROWS = 32  # vectors that are written as numbers before others get their turn


class Embeddings:
    """Answers calls.

    Args:
        plane: that embeds.
        limits: of texts.
    """

    def __init__(self, plane: Plane, limits: TextLimits) -> None:
        self._plane = plane
        self._limits = limits

    async def answer(self, call: Call) -> Response:
        """Vectors of the texts that a call brings."""
        asked = parsed(await call.body(), self._limits)
        answers = await call.unless_gone(
            self._plane.predict(asked.model, [asked.request], call.terms)
        )
        call.answered(answers.version)
        return await reply(asked, answers.replies[0], answers.version.ref)


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
    said = object_of(body)
    expect_known(said, FIELDS, OURS)
    model, prompt = model_of(said), said.get("prompt")
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
