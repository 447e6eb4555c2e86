"""``/v1/chat/completions``: requests from JSON, answers to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from foretoken.models.generation import Chat
from foretoken.models.tasks import LOGPROBS, Token
from foretoken.server.doors.texts import TextLimits
from foretoken.server.doors.web.openai import asked as fields
from foretoken.server.doors.web.openai.asked import MOST, Asked, asked_of
from foretoken.server.doors.web.openai.bodies import (
    expect_known,
    flag,
    integer,
    object_of,
    supported,
)
from foretoken.server.doors.web.openai.errors import BadField
from foretoken.server.doors.web.openai.pieces import Pieces

__all__ = ["Chats"]

THEIRS = fields.THEIRS | {"messages", "max_completion_tokens", "top_logprobs"}
OURS = fields.OURS | {"chat_template_kwargs"}
NEUTRAL: Mapping[str, Collection[Any]] = {
    **fields.NEUTRAL,
    **dict.fromkeys(("tools", "functions"), ([],)),
    **dict.fromkeys(("tool_choice", "function_call"), ("none",)),
    "parallel_tool_calls": (True, False),  # of tools, which there are none of
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "metadata": ({},),
    **dict.fromkeys(("audio", "prediction", "reasoning_effort", "verbosity"), ()),
    **dict.fromkeys(("web_search_options", "prompt_cache_key", "safety_identifier"), ()),
}
# Of messages: what is read, and what would be lost.
READ = frozenset({"role", "content", "name"})
LOST: Mapping[str, Collection[Any]] = {
    **dict.fromkeys(("tool_calls", "annotations"), ([],)),
    **dict.fromkeys(("tool_call_id", "function_call", "audio", "refusal"), ()),
}
BETWEEN = "\n"  # parts of a message


class Chats:
    """The form of a chat; see ``generating.Form``.

    Args:
        limits: of messages.
    """

    whole, part = "chat.completion", "chat.completion.chunk"
    prefix = "chatcmpl"

    def __init__(self, limits: TextLimits) -> None:
        self._limits = limits

    def parsed(self, body: bytes) -> Asked:
        """See ``Form``."""
        said = supported(object_of(body), NEUTRAL)
        expect_known(said, THEIRS, OURS)
        given = said.get("messages")
        if not isinstance(given, list) or not given:
            raise BadField("messages", "messages is a list of at least one message")
        messages = tuple(_message(i, each) for i, each in enumerate(given))
        sizes = [len(each["content"].encode("utf-8", "replace")) for each in messages]
        self._limits.expect_short(sizes, 0)
        variables = said.get("chat_template_kwargs")
        if not isinstance(variables, dict | None):
            raise BadField("chat_template_kwargs", "chat_template_kwargs is an object")
        chat = Chat(messages, variables or {})
        return asked_of(said, [chat], _most(said), _likeliest(said))

    def choice(self, text: str, logprobs: Any) -> dict[str, Any]:
        """See ``Form``."""
        return {"message": {"role": "assistant", "content": text}, "logprobs": logprobs}

    def opening(self) -> dict[str, Any] | None:
        """See ``Form``: who speaks."""
        return {"delta": {"role": "assistant", "content": ""}, "logprobs": None}

    def delta(self, text: str, logprobs: Any) -> dict[str, Any]:
        """See ``Form``."""
        return {"delta": {"content": text} if text or logprobs else {}, "logprobs": logprobs}

    def logprobs(self, tokens: Sequence[Token], pieces: Pieces, offset: int) -> dict[str, Any]:
        """See ``Form``."""

        def told(token: int, logprob: float) -> dict[str, Any]:
            text = pieces.text(token)
            return {
                "token": pieces.name(token),
                "logprob": pieces.number(logprob),
                "bytes": None if text is None else list(text.encode()),
            }

        content = [
            {
                **told(token.id, token.logprob),
                "top_logprobs": [told(*likely) for likely in token.likeliest],
            }
            for token in tokens
        ]
        return {"content": content}


def _message(i: int, given: Any) -> dict[str, str]:
    where = f"message {i}"
    if not isinstance(given, dict):
        raise BadField("messages", f"{where} is an object, with role and content")
    for name in sorted(set(given) - READ):
        if name not in LOST:
            raise BadField("messages", f"{where} has a field {name!r}; there are {_listed(READ)}")
        if given[name] is not None and given[name] not in LOST[name]:
            raise BadField("messages", f"{where}: {name} is not supported; leave it out")
    if not isinstance(given.get("role"), str) or not given["role"]:
        raise BadField("messages", f"{where} has no role, such as 'user'")
    found = {"role": given["role"], "content": _content(where, given.get("content"))}
    if (name := given.get("name")) is not None:
        if not isinstance(name, str):
            raise BadField("messages", f"{where}: name is a string")
        found["name"] = name
    return found


def _content(where: str, given: Any) -> str:
    """Text, or parts of it, each on lines of its own."""
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given:
        raise BadField("messages", f"{where}: content is a string or a list of parts of type text")
    texts = []
    for part in given:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise BadField(
                "messages",
                f"{where} has a part of type {kind!r}; only parts of type 'text' are read",
            )
        texts.append(part["text"])
    return BETWEEN.join(texts)


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def _most(said: Mapping[str, Any]) -> int | None:
    older = integer(said, "max_tokens", 1, MOST)
    newer = integer(said, "max_completion_tokens", 1, MOST)
    if older is not None and newer is not None and older != newer:
        raise BadField("max_tokens", "max_tokens and max_completion_tokens are the same; give one")
    return newer if older is None else older


def _likeliest(said: Mapping[str, Any]) -> int | None:
    """How many of the likeliest tokens are told beside each; None: not even its own."""
    most = integer(said, "top_logprobs", 0, LOGPROBS)
    if flag(said, "logprobs"):
        return most or 0
    if most:
        raise BadField("top_logprobs", "top_logprobs goes with logprobs: true")
    return None
