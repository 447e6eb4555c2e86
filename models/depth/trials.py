"""Trials of chains on one prompt: what the answer of each is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from foretoken.models.contract import Host, Steps
from foretoken.models.depth.adaptive import Adaptive
from foretoken.models.depth.chains import Chain, expect_chain
from foretoken.models.depth.requests import SearchRequest
from foretoken.models.depth.verifiers import Exact, Verifier, reward_of
from foretoken.models.generation import Sampling, Together
from foretoken.models.tasks import GenerationReply, GenerationRequest, ScoreReply, ScoreRequest

__all__ = ["GREEDY", "Trial", "trial"]

GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0)


class Trial(Protocol):
    """Runs chains together."""

    def run(self, chains: Sequence[Chain]) -> Steps:
        """Steps whose reply is a list: what each chain's answer is worth, in [0, 1].

        Raises:
            InvalidInput: the model has no such chain.
        """


def trial(model: Adaptive, request: SearchRequest) -> Trial:
    """How chains are tried for a request.

    Raises:
        InvalidInput: prompt or answer are not acceptable to the model.
    """
    if isinstance(request.verifier, Exact):
        return _Scored(model, request, request.verifier)
    return _Generated(model, request, request.verifier)


class _Scored:
    """One pass over prompt and answer, and the end where the model has one.

    An answer that is decoded greedily is this one if and only if each of its tokens is the
    likeliest behind those before it.
    """

    def __init__(self, model: Adaptive, request: SearchRequest, wanted: Exact) -> None:
        self._model = model
        plain = model.continuation(GenerationRequest(request.prompt, 1))
        self._begin, self._ends = len(plain.ids), plain.ends
        self._answer = model.written(request.prompt, wanted.answer)
        ids = (*plain.ids, *self._answer, *sorted(plain.ends)[:1])
        self._whole = model.scoring(ScoreRequest(np.array(ids)))

    def run(self, chains: Sequence[Chain]) -> Steps:
        """See ``Trial.run``."""
        expected = [expect_chain(c, self._model.layers, self._model.longest) for c in chains]
        runs = tuple(replace(self._whole, chain=chain) for chain in expected)
        replies: list[ScoreReply] = yield Together(runs)
        return [float(self._right(reply)) for reply in replies]

    def _right(self, reply: ScoreReply) -> bool:
        after = reply.likeliest[self._begin - 1 :].tolist()
        n = len(self._answer)
        return tuple(after[:n]) == self._answer and (not self._ends or after[n] in self._ends)


class _Generated:
    """Answers that are decoded greedily, and given to the verifier.

    That works in a thread of those that compute, since a caller's own may take long.
    """

    def __init__(self, model: Adaptive, request: SearchRequest, verifier: Verifier) -> None:
        self._model, self._verifier = model, verifier
        plain = GenerationRequest(request.prompt, request.max_tokens, GREEDY)
        self._request = replace(plain, prompt=np.array(model.continuation(plain).ids))

    def run(self, chains: Sequence[Chain]) -> Steps:
        """See ``Trial.run``."""
        asked = [replace(self._request, chain=chain) for chain in chains]
        replies: list[GenerationReply]
        replies = yield Together(tuple(self._model.continuation(each) for each in asked))
        return (yield Host(partial(self._worth, replies)))

    def _worth(self, replies: Sequence[GenerationReply]) -> list[float]:
        return [reward_of(self._verifier, reply) for reply in replies]
