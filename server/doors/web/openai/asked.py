"""What completions and chats ask for alike: how tokens are drawn, how many, by which layers."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.generation import SEEDS, Chat, Sampling
from foretoken.models.tasks import STOPS, GenerationRequest
from foretoken.server.doors.web.openai.bodies import flag, integer, model_of
from foretoken.server.doors.web.openai.errors import BadField

__all__ = ["CHOICES", "MOST", "NEUTRAL", "OURS", "THEIRS", "Asked", "asked_of"]

# Names of OpenAI's fields, and of those that are not OpenAI's.
THEIRS = frozenset(
    {
        *("model", "max_tokens", "temperature", "top_p", "seed", "stop", "logprobs", "n"),
        *("stream", "stream_options", "user"),
    }
)
OURS = frozenset({"chain", "top_k", "min_p", "repetition_penalty"})
# OpenAI's fields that are not supported, and values of them that ask for nothing.
NEUTRAL: Mapping[str, Collection[Any]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
}
CHOICES = 128  # of one call, at most
MOST = (1 << 31) - 1  # of what is counted
DRAWN = 32  # bits of a seed that nobody has given: any program can say such a number
_NUMBERS = ("temperature", "top_p", "min_p", "repetition_penalty")


@dataclass(frozen=True)
class Asked:
    """A call.

    Args:
        model: as named.
        requests: ``n`` for each prompt, of seeds that follow on one another.
        n: choices of each prompt.
        stream: they are told as they come.
        usage: a stream ends with what was used.
        logprobs: those of tokens are told.
    """

    model: str
    requests: tuple[GenerationRequest, ...]
    n: int
    stream: bool
    usage: bool
    logprobs: bool

    @property
    def seed(self) -> int:
        """Of the first choice."""
        return self.requests[0].sampling.seed


def asked_of(
    said: Mapping[str, Any],
    prompts: Sequence[str | Array | Chat],
    most: int | None,
    logprobs: int | None,
) -> Asked:
    """The call that a body is.

    Args:
        said: its fields.
        prompts: in it.
        most: tokens of each answer.
        logprobs: how many of the likeliest tokens are told beside each; None: not even its own.

    Raises:
        InvalidInput: naming the field that is not acceptable.
    """
    n = integer(said, "n", 1, CHOICES) or 1
    if (choices := n * len(prompts)) > CHOICES:
        raise BadField("n", f"{choices} choices are more than the {CHOICES} of one call")
    stream = flag(said, "stream")
    first = _sampling(said)
    if first.seed + n > SEEDS:
        raise BadField("seed", f"seed is at most {SEEDS - n}, so that {n} choices have their own")
    chain, stop, usage = _chain(said.get("chain")), _stop(said.get("stop")), _usage(said, stream)
    requests = tuple(
        GenerationRequest(
            prompt,
            most,
            replace(first, seed=first.seed + i),
            chain,
            stop=stop,
            logprobs=logprobs or 0,
        )
        for prompt in prompts
        for i in range(n)
    )
    return Asked(model_of(said), requests, n, stream, usage, logprobs is not None)


def _sampling(said: Mapping[str, Any]) -> Sampling:
    given: dict[str, Any] = {name: said.get(name) for name in (*_NUMBERS, "top_k")}
    seed = said.get("seed")
    given["seed"] = secrets.randbits(DRAWN) if seed is None else seed
    for name, value in given.items():
        try:
            Sampling(**{name: value})
        except InvalidInput as e:
            raise BadField(name, str(e)) from e
    return Sampling(**given)


def _chain(given: Any) -> tuple[int, ...] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not all(type(layer) is int for layer in given):
        raise BadField("chain", "chain is a list of layers' numbers, from 0")
    return tuple(given)


def _stop(given: Any) -> tuple[str, ...]:
    texts = [] if given is None else [given] if isinstance(given, str) else given
    many = isinstance(texts, list) and all(isinstance(text, str) and text for text in texts)
    if not many or len(texts) > STOPS:
        raise BadField("stop", f"stop is a string or up to {STOPS} of them, none of them empty")
    return tuple(texts)


def _usage(said: Mapping[str, Any], stream: bool) -> bool:
    options = said.get("stream_options")
    if options is None:
        return False
    if not stream:
        raise BadField("stream_options", "stream_options goes with stream: true")
    if not isinstance(options, dict) or set(options) - {"include_usage"}:
        raise BadField("stream_options", "stream_options has one field, include_usage")
    return flag(options, "include_usage")
