"""Generation on ``grpc.aio``: the part of ``AsyncClient`` that continues prompts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from foretoken.client import generation
from foretoken.client.aio_responses import Responses
from foretoken.client.aio_transport import Transport
from foretoken.client.blocking_generation import LONG, MAX_TOKENS
from foretoken.client.generation import Asked, Hear, Heard, Prompted, Row, Searched
from foretoken.client.methods import method
from foretoken.client.operations import Budget, Steps
from foretoken.generated import Answer, Found, Menu, Token

__all__ = ["AsyncGenerating", "AsyncGeneration"]

R = TypeVar("R")


class AsyncGenerating:
    """An answer on its way: an iterator of tokens, made by ``AsyncClient.generate``.

    To close it, or to leave it as a context manager, ends the work for it.
    """

    def __init__(self, transport: Transport, request: Any, seconds: float) -> None:
        self._transport = transport
        self._request = request
        self._seconds = seconds
        self._responses: Responses | None = None
        self._heard = Heard()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Token:
        """The next token, once it is there.

        Raises:
            ForetokenError: as the methods of ``AsyncClient`` do.
        """
        if self._responses is None:
            self._responses = _begun(
                self._transport, "Generation.Generate", self._request, self._seconds
            )
        while (said := await self._responses.following()) is not None:
            if (token := self._heard.token(said)) is not None:
                return token
        raise StopAsyncIteration

    @property
    def reply(self) -> Answer:
        """The whole answer, after its last token.

        Raises:
            FailedPrecondition: it has not ended.
        """
        return self._heard.answer

    async def close(self) -> None:
        """End it now."""
        if self._responses is not None:
            self._responses.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _begun(transport: Transport, name: str, request: Any, seconds: float) -> Responses:
    called, budget = method(name), Budget(seconds)
    call = transport.answered(called, request, budget)
    return Responses(called, call, transport.address, budget)


class AsyncGeneration(ABC):
    """See ``AsyncClient``."""

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
    ) -> AsyncGenerating:
        """See ``Client.generate``; awaits nothing itself."""
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
        return AsyncGenerating(self._transport, asked.message(), self._seconds(timeout))

    async def score(
        self,
        model: str,
        ids: Prompted,
        chain: Sequence[int] | None = None,
        *,
        key: str | None = None,
        timeout: float | None = None,
    ) -> NDArray[np.float32]:
        """See ``Client.score``."""
        return await self._run(generation.score(model, ids, chain, key), timeout)

    async def tokenize(
        self, model: str, text: str, *, key: str | None = None, timeout: float | None = None
    ) -> list[int]:
        """See ``Client.tokenize``."""
        return await self._run(generation.tokenize(model, text, key), timeout)

    async def detokenize(
        self,
        model: str,
        ids: Sequence[int],
        *,
        key: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """See ``Client.detokenize``."""
        return await self._run(generation.detokenize(model, ids, key), timeout)

    async def search(
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
        """See ``Client.search``."""
        said = {"simulations": simulations, **options}
        request = generation.search(
            model, prompt, answer, pattern, confident, max_tokens, said, key
        )
        found: Found = await self._searched(request, heard, timeout)
        return found

    async def search_rows(
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
        """See ``Client.search_rows``."""
        said = {"chains": chains, "held_out": held_out, **options}
        request = generation.menu(model, rows, max_tokens, {"simulations": simulations}, said, key)
        made: Menu = await self._searched(request, heard, timeout)
        return made

    async def _searched(self, request: Any, heard: Hear | None, timeout: float | None) -> Any:
        searched = Searched(heard)
        responses = _begun(self._transport, "Generation.Search", request, self._seconds(timeout))
        try:
            while (said := await responses.following()) is not None:
                searched.take(said)
        finally:
            responses.end()
        return searched.result()

    @abstractmethod
    async def _run(self, steps: Steps[R], timeout: float | None) -> R: ...

    @abstractmethod
    def _seconds(self, timeout: float | None) -> float: ...
