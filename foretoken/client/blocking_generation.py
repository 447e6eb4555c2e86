"""Generation on ``grpc``: the part of ``Client`` that continues prompts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from foretoken.client import generation
from foretoken.client.blocking_responses import Responses
from foretoken.client.blocking_transport import Transport
from foretoken.client.generation import Asked, Hear, Heard, Prompted, Row, Searched
from foretoken.client.methods import method
from foretoken.client.operations import Budget, Steps
from foretoken.generated import Answer, Found, Menu, Token

__all__ = ["Generating", "Generation"]

R = TypeVar("R")

MAX_TOKENS = 16
LONG = 86400.0  # seconds that the making of a menu may take by default


class Generating:
    """An answer on its way: an iterator of tokens, made by ``Client.generate``.

    To close it, or to leave it as a context manager, ends the work for it.
    """

    def __init__(self, transport: Transport, request: Any, seconds: float) -> None:
        self._responses = _begun(transport, "Generation.Generate", request, seconds)
        self._heard = Heard()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Token:
        """The next token, once it is there.

        Raises:
            ForetokenError: as the methods of ``Client`` do.
        """
        for said in self._responses:
            if (token := self._heard.token(said)) is not None:
                return token
        raise StopIteration

    @property
    def reply(self) -> Answer:
        """The whole answer, after its last token.

        Raises:
            FailedPrecondition: it has not ended.
        """
        return self._heard.answer

    def close(self) -> None:
        """End it now."""
        self._responses.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _begun(transport: Transport, name: str, request: Any, seconds: float) -> Responses:
    return transport.responses(method(name), request, Budget(seconds))


class Generation(ABC):
    """See ``Client``."""

    _transport: Transport

    def generate(
        self,
        model: str,
        prompt: Prompted,
        chain: Sequence[int] | None = None,
        policy: str | None = None,
        max_tokens: int = MAX_TOKENS,
        temperature: float | None = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        ends: Sequence[int] = (),
        logprobs: int = 0,
        *,
        answer: str | None = None,
        pattern: str | None = None,
        confident: bool = False,
        simulations: int | None = None,
        key: str | None = None,
        timeout: float | None = None,
        **search: float | None,
    ) -> Generating:
        """Continue a prompt; an iterator gives each token as it comes, and the answer at its end.

        Args:
            model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
            prompt: a text, or token ids.
            chain: indices of the layers to run, in order; any may be left out or come again.
            policy: who says which layers: "full", "chain", "menu" or "search"; the default is
                "chain" where one is given, or else "full".
            max_tokens: of the answer.
            temperature: 0 takes the likeliest token; None the model's own.
            top_k: so many of the likeliest tokens stay; 0: all.
            top_p: the fewest likeliest tokens stay whose probabilities sum up to this.
            min_p: tokens stay that have this share of the likeliest one's probability.
            repetition_penalty: above 1 makes tokens less likely that have been seen.
            seed: of what is drawn; the default is one that the server chooses, and tells.
            stop: texts before which the answer ends.
            ends: tokens that end it, beside the model's own.
            logprobs: how many of the likeliest tokens to tell beside each.
            answer: which the policy "search" looks for; of this and the next two, one.
            pattern: a regular expression that its answers have to match.
            confident: whether the surest answer is the best.
            simulations: of that search.
            key: chooses the side of a canary; the same key is always on the same side.
            timeout: seconds for the whole answer.
            search: other options of that search: see ``search``.
        """
        sampling = {
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "seed": seed,
        }
        asked = Asked(
            model, prompt, max_tokens, chain, policy, sampling, stop, ends, logprobs,
            answer, pattern, confident, {"simulations": simulations, **search}, key,
        )  # fmt: skip
        return Generating(self._transport, asked.message(), self._seconds(timeout))

    def score(
        self,
        model: str,
        ids: Prompted,
        chain: Sequence[int] | None = None,
        *,
        key: str | None = None,
        timeout: float | None = None,
    ) -> NDArray[np.float32]:
        """How likely each token is after those before it: logprobs of all but the first [T - 1].

        Nothing is kept of it, and nothing read that was kept.

        Args:
            model: see ``generate``.
            ids: at least two tokens, or a text of as many.
            chain: see ``generate``.
            key: chooses the side of a canary.
            timeout: seconds.
        """
        return self._run(generation.score(model, ids, chain, key), timeout)

    def tokenize(
        self, model: str, text: str, *, key: str | None = None, timeout: float | None = None
    ) -> list[int]:
        """The tokens of a text."""
        return self._run(generation.tokenize(model, text, key), timeout)

    def detokenize(
        self,
        model: str,
        ids: Sequence[int],
        *,
        key: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """The text of tokens."""
        return self._run(generation.detokenize(model, ids, key), timeout)

    def search(
        self,
        model: str,
        prompt: Prompted,
        answer: str | None = None,
        pattern: str | None = None,
        confident: bool = False,
        max_tokens: int = MAX_TOKENS,
        simulations: int | None = None,
        *,
        heard: Hear | None = None,
        key: str | None = None,
        timeout: float | None = LONG,
        **options: float | None,
    ) -> Found:
        """Search for chains of layers by which a model answers a prompt right.

        Args:
            model: see ``generate``.
            prompt: a text, or token ids.
            answer: that is right; of this and the next two, one.
            pattern: a regular expression that right answers match somewhere.
            confident: whether answers are worth as much as the model is sure of them.
            max_tokens: of an answer that is generated.
            simulations: chains that are tried, at most; the default is 200.
            heard: is told how far the search is.
            key: chooses the side of a canary.
            timeout: seconds.
            options: ``exploration``, ``length_penalty``, ``random_child``, ``block``, ``longest``,
                ``together``, ``seed``.
        """
        said = {"simulations": simulations, **options}
        request = generation.search(
            model, prompt, answer, pattern, confident, max_tokens, said, key
        )
        found: Found = self._searched(request, heard, timeout)
        return found

    def search_rows(
        self,
        model: str,
        rows: Iterable[Row],
        chains: int | None = None,
        held_out: float | None = None,
        max_tokens: int = MAX_TOKENS,
        simulations: int | None = None,
        *,
        heard: Hear | None = None,
        key: str | None = None,
        timeout: float | None = LONG,
        **options: float | None,
    ) -> Menu:
        """Search chains for labelled prompts, make a menu of them, and store it as a child version.

        Aliases point where they did.

        Args:
            model: see ``generate``; the child is a version of its model.
            rows: mappings of "prompt" and either "answer" or "pattern".
            chains: of the menu, at most.
            held_out: share of the rows that the menu is measured on, and not chosen by.
            max_tokens: of an answer.
            simulations: of each row's search.
            heard: is told how far it is.
            key: chooses the side of a canary.
            timeout: seconds.
            options: of the menu: ``short``, ``candidates``, ``chooser``, ``together``, ``seed``.
        """
        said = {"chains": chains, "held_out": held_out, **options}
        request = generation.menu(model, rows, max_tokens, {"simulations": simulations}, said, key)
        made: Menu = self._searched(request, heard, timeout)
        return made

    def _searched(self, request: Any, heard: Hear | None, timeout: float | None) -> Any:
        searched = Searched(heard)
        responses = _begun(self._transport, "Generation.Search", request, self._seconds(timeout))
        try:
            for said in responses:
                searched.take(said)
        finally:
            responses.close()
        return searched.result()

    @abstractmethod
    def _run(self, steps: Steps[R], timeout: float | None) -> R: ...

    @abstractmethod
    def _seconds(self, timeout: float | None) -> float: ...
