"""The request logic of CoLa: a prompt and a chain to tokens that the engine continues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foretoken.errors import DataLoss, InvalidInput
from foretoken.models.contract import Array, Arrays, Config, Steps
from foretoken.models.depth.chains import Chain, expect_chain, full
from foretoken.models.generation import Continuation, Reader, Sampling
from foretoken.models.layers.texts.reading import TextReader, Unread
from foretoken.models.layers.texts.tokens import FILE
from foretoken.models.tasks import GenerationRequest, ScoreRequest

__all__ = ["ColaPredictor"]

STRETCH = 4  # layers of the longest chain, as a multiple of the model's
_NUMBERS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


class ColaPredictor:
    """See ``foretoken.models.kinds.Generative``.

    Args:
        config: of the version.
        weights: the tokenizer among them, unless the configuration says 0 bytes.

    Raises:
        DataLoss: the tokenizer is not there.
        InvalidInput: it cannot be read.
    """

    def __init__(self, config: Config, weights: Arrays) -> None:
        self._layers: int = config["shape"]["layers"]
        self._vocab: int = config["shape"]["vocab"]
        self._positions: int = config["positions"]
        said: Mapping[str, Any] = config["generation"]
        self._ends = frozenset(said["ends"])
        # As transformers: without leave to sample, the other numbers are not the model's own.
        own = {"temperature": 1.0} | {n: said[n] for n in _NUMBERS if n in said}
        self._defaults = own if said["sample"] else {}
        self._tokenizer: Any = None
        if config["tokenizer"]:
            # Imported here: only versions that bring a tokenizer need the package.
            from foretoken.models.layers.hf.tokenizer import tokenizer_of  # noqa: PLC0415

            if (kept := weights.get(FILE)) is None:
                raise DataLoss(f"the weights lack {FILE!r}, without which there are no texts")
            self._tokenizer = tokenizer_of(kept.tobytes())

    def start(self) -> Arrays:
        """The state before the first token: none, since it lies in the engine's blocks."""
        return {}

    def predict(self, request: GenerationRequest | ScoreRequest, state: Any = None) -> Steps:
        """See ``contract.Predictor.predict``.

        Raises:
            InvalidInput: the prompt, the chain or a token is none of this model's, or prompt and
                answer are longer than it.
        """
        del state
        if isinstance(request, ScoreRequest):
            return (yield self.scoring(request))
        return (yield self.continuation(request))

    def scoring(self, request: ScoreRequest) -> Continuation:
        """What it takes to score tokens; errors as for ``predict``."""
        ids = self._ids(request.prompt)
        if not 2 <= len(ids) <= self._positions:
            raise InvalidInput(
                f"{len(ids)} tokens cannot be scored; 2 to {self._positions} can: the first has "
                "none before it"
            )
        sampling = Sampling().over({})
        chain = self._chain(request.chain)
        return Continuation(ids, chain, 0, sampling, frozenset(), Unread(), scored=True)

    def continuation(self, request: GenerationRequest) -> Continuation:
        """What a request asks for; errors as for ``predict``."""
        ids = self._ids(request.prompt)
        if (whole := len(ids) + request.max_tokens) > self._positions:
            raise InvalidInput(
                f"a prompt of {len(ids)} tokens and an answer of {request.max_tokens} come to "
                f"{whole}; this model has positions for {self._positions}"
            )
        for end in request.ends:
            self._expect_token("ends", end)
        return Continuation(
            ids=ids,
            chain=self._chain(request.chain),
            most=request.max_tokens,
            sampling=request.sampling.over(self._defaults),
            ends=self._ends | set(request.ends),
            reader=self._reader(ids, request.stop),
            logprobs=request.logprobs,
        )

    def _chain(self, chain: Chain | None) -> Chain:
        if chain is None:
            return full(self._layers)
        return expect_chain(chain, self._layers, STRETCH * self._layers)

    def _ids(self, prompt: str | Array) -> tuple[int, ...]:
        if not isinstance(prompt, str):
            ids = tuple(int(i) for i in prompt)
            for i in ids:
                self._expect_token("the prompt", i)
            return ids
        if self._tokenizer is None:
            raise InvalidInput("this model has no tokenizer; give the prompt as token ids")
        try:
            found: list[int] = self._tokenizer.encode(prompt).ids
        except Exception as e:  # the package has no class of its own for what has no token
            raise InvalidInput(f"the prompt cannot be told in this model's tokens: {e}") from e
        if not found:
            raise InvalidInput("the prompt has no tokens; give at least one")
        return tuple(found)

    def _expect_token(self, what: str, token: int) -> None:
        if not 0 <= token < self._vocab:
            raise InvalidInput(f"{what} holds {token}; tokens are 0 to {self._vocab - 1}")

    def _reader(self, ids: tuple[int, ...], stop: tuple[str, ...]) -> Reader:
        if self._tokenizer is not None:
            return TextReader(self._tokenizer.decode, ids, stop)
        if stop:
            raise InvalidInput("this model has no tokenizer, so no text to stop at; give ends")
        return Unread()
