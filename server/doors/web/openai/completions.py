"""``/v1/completions``: requests from JSON, answers to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foretoken.models.contract import Array
from foretoken.models.tasks import LOGPROBS, Token
from foretoken.server.doors.texts import TextLimits
from foretoken.server.doors.web.openai import asked as fields
from foretoken.server.doors.web.openai.asked import CHOICES, MOST, Asked, asked_of
from foretoken.server.doors.web.openai.bodies import (
    expect_known,
    integer,
    object_of,
    supported,
)
from foretoken.server.doors.web.openai.errors import BadField
from foretoken.server.doors.web.openai.pieces import Pieces

__all__ = ["Completions"]

THEIRS = fields.THEIRS | {"prompt"}
NEUTRAL = {**fields.NEUTRAL, "echo": (False,), "suffix": ("",)}
TOKENS = 16  # of an answer, where nothing is said
WHAT = "prompt is a string, a list of token ids, or a list of strings or of such lists"


class Completions:
    """The form of a completion; see ``generating.Form``.

    Args:
        limits: of prompts.
    """

    whole = part = "text_completion"
    prefix = "cmpl"

    def __init__(self, limits: TextLimits) -> None:
        self._limits = limits

    def parsed(self, body: bytes) -> Asked:
        """See ``Form``."""
        said = supported(object_of(body), NEUTRAL)
        if said.pop("best_of", None) not in (None, said.get("n") or 1):
            raise BadField("best_of", "best_of is not supported; leave it out")
        expect_known(said, THEIRS, fields.OURS)
        prompts = self._prompts(said.get("prompt"))
        most = integer(said, "max_tokens", 1, MOST) or TOKENS
        told = integer(said, "logprobs", 0, LOGPROBS)
        return asked_of(said, prompts, most, told)

    def _prompts(self, given: Any) -> Sequence[str | Array]:
        if isinstance(given, list) and given and all(type(i) is int for i in given):
            given = [given]
        many = given if isinstance(given, list) else [given]
        if not many:
            raise BadField("prompt", f"{WHAT}; give at least one")
        if len(many) > CHOICES:
            raise BadField("prompt", f"{len(many)} prompts are more than the {CHOICES} of one call")
        prompts = [self._prompt(each) for each in many]
        texts = [text for text in prompts if isinstance(text, str)]
        self._limits.expect_short([len(text.encode("utf-8", "replace")) for text in texts], 0)
        return prompts

    def _prompt(self, given: Any) -> str | Array:
        if isinstance(given, str):
            return given
        if not isinstance(given, list) or not given:
            raise BadField("prompt", WHAT)
        if not all(type(i) is int and 0 <= i <= MOST for i in given):
            raise BadField("prompt", "token ids are integers of 0 or more")
        return np.array(given, np.int64)

    def choice(self, text: str, logprobs: Any) -> dict[str, Any]:
        """See ``Form``."""
        return {"text": text, "logprobs": logprobs}

    def opening(self) -> dict[str, Any] | None:
        """See ``Form``: nothing goes before the text."""
        return None

    def delta(self, text: str, logprobs: Any) -> dict[str, Any]:
        """See ``Form``."""
        return {"text": text, "logprobs": logprobs}

    def logprobs(self, tokens: Sequence[Token], pieces: Pieces, offset: int) -> dict[str, Any]:
        """See ``Form``; the likeliest tokens are those that were asked for, and the chosen one."""
        offsets, likeliest = [], []
        for token in tokens:
            offsets.append(offset)
            offset += len(token.text)
            told: dict[str, float] = {}
            for i, logprob in (*token.likeliest, (token.id, token.logprob)):
                told.setdefault(pieces.name(i), pieces.number(logprob))
            likeliest.append(told)
        return {
            "tokens": [pieces.name(token.id) for token in tokens],
            "token_logprobs": [pieces.number(token.logprob) for token in tokens],
            "top_logprobs": likeliest,
            "text_offset": offsets,
        }
