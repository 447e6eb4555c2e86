"""The request logic of CoLa: a prompt and a chain to tokens that the engine continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from foretoken.errors import DataLoss, InvalidInput
from foretoken.models.contract import Array, Arrays, Config, Host, Steps
from foretoken.models.depth.chains import Chain, expect_chain, full
from foretoken.models.depth.menus import menu_of
from foretoken.models.depth.policies import answered
from foretoken.models.depth.requests import SearchRequest
from foretoken.models.generation import Chat, Continuation, Reader, Sampling
from foretoken.models.layers.texts.reading import TextReader, Unread, piece
from foretoken.models.layers.texts.tokens import ALONE, FILE
from foretoken.models.tasks import GenerationRequest, Policy, ScoreRequest

if TYPE_CHECKING:
    from foretoken.models.layers.texts.chat import ChatTemplate

__all__ = ["ColaPredictor"]

SPECIAL = ("bos_token", "eos_token")  # whose texts templates may name
STRETCH = 4  # layers of the longest chain, as a multiple of the model's
_ALWAYS = ("repetition_penalty",)  # which changes what is likeliest, too
_NUMBERS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


class ColaPredictor:
    """See ``foretoken.models.kinds.Generative``, and ``depth.adaptive.Adaptive``.

    Args:
        config: of the version.
        weights: the tokenizer among them, unless the configuration says 0 bytes.

    Raises:
        DataLoss: the tokenizer is not there.
        InvalidInput: it cannot be read.
    """

    def __init__(self, config: Config, weights: Arrays) -> None:
        self.layers: int = config["shape"]["layers"]
        self.longest = STRETCH * self.layers
        self.menu = menu_of(config, self.layers, self.longest)
        self._vocab: int = config["shape"]["vocab"]
        self._positions: int = config["positions"]
        said: Mapping[str, Any] = config["generation"]
        self._ends = frozenset(said["ends"])
        own = {"temperature": 1.0} | {n: said[n] for n in _NUMBERS if n in said}
        # As transformers: without leave to sample, of these the penalty alone is the model's own.
        self._defaults = own if said["sample"] else {n: own[n] for n in _ALWAYS if n in own}
        self._said: Mapping[str, str] | None = config["chat"]
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

    def predict(
        self, request: GenerationRequest | ScoreRequest | SearchRequest, state: Any = None
    ) -> Steps:
        """See ``contract.Predictor.predict``.

        Raises:
            InvalidInput: the prompt, the chain or a token is none of this model's, or prompt and
                answer are longer than it.
            Unsupported: a menu is asked for, and this version has none.
        """
        del state
        if isinstance(request, ScoreRequest) and len(request.prompt) > ALONE:
            return (yield (yield Host(partial(self.scoring, request))))
        if isinstance(request, GenerationRequest) and _is_long(request):
            request = yield Host(partial(self._read, request))
        return (yield from answered(self, request))

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
        most = request.max_tokens or max(1, self._positions - len(ids))
        if (whole := len(ids) + most) > self._positions:
            raise InvalidInput(
                f"a prompt of {len(ids)} tokens and an answer of {most} come to {whole}; this "
                f"model has positions for {self._positions}"
            )
        for end in request.ends:
            self._expect_token("ends", end)
        return Continuation(
            ids=ids,
            chain=self._chain(request.chain),
            most=most,
            sampling=request.sampling.over(self._defaults),
            ends=self._ends | set(request.ends),
            reader=self._reader(ids, request.stop),
            logprobs=request.logprobs,
        )

    def piece(self, token: int) -> str | None:
        """See ``kinds.Generative``."""
        if self._tokenizer is None:
            return None
        return piece(partial(self._tokenizer.decode, skip_special_tokens=False), token)

    def written(self, prompt: str | Array, answer: str) -> tuple[int, ...]:
        """See ``Adaptive.written``: as the two are written together, unless a token spans both."""
        if isinstance(prompt, str):
            before, both = self._ids(prompt), self._ids(prompt + answer)
            if both[: len(before)] == before and len(both) > len(before):
                return both[len(before) :]
        return self._encoded(answer, "the answer", special=False)

    def tokens(self, text: str) -> tuple[int, ...]:
        """See ``foretoken.models.kinds.Generative``."""
        return self._encoded(text, "the prompt", special=True)

    def text(self, tokens: Sequence[int]) -> str:
        """See ``foretoken.models.kinds.Generative``."""
        for token in tokens:
            self._expect_token("the list", token)
        if self._tokenizer is None:
            raise InvalidInput("this model has no tokenizer, so its tokens have no text")
        said: str = self._tokenizer.decode(list(tokens))
        return said

    @cached_property
    def _template(self) -> ChatTemplate:
        """Read when it is first asked for: without it, texts are continued all the same."""
        from foretoken.models.layers.texts.chat import ChatTemplate  # noqa: PLC0415

        if self._said is None:
            raise InvalidInput(
                "this model has no chat template; give the prompt as one text, or as token ids"
            )
        return ChatTemplate(self._said["template"], {n: self._said[n] for n in SPECIAL})

    def _chain(self, chain: Chain | None) -> Chain:
        if chain is None:
            return full(self.layers)
        return expect_chain(chain, self.layers, self.longest)

    def _read(self, request: GenerationRequest) -> GenerationRequest:
        """The same with tokens for its prompt."""
        work = self.continuation(request)
        return replace(request, prompt=np.array(work.ids), max_tokens=work.most)

    def _ids(self, prompt: str | Array | Chat) -> tuple[int, ...]:
        if isinstance(prompt, str):
            return self.tokens(prompt)
        if isinstance(prompt, Chat):  # a template's text has its special tokens already
            self._expect_tokenizer("the prompt")
            return self._encoded(self._template.prompt(prompt), "the prompt", special=False)
        ids = tuple(int(i) for i in prompt)
        for i in ids:
            self._expect_token("the prompt", i)
        return ids

    def _expect_tokenizer(self, what: str) -> None:
        if self._tokenizer is None:
            raise InvalidInput(f"this model has no tokenizer; give {what} as token ids")

    def _encoded(self, text: str, what: str, *, special: bool) -> tuple[int, ...]:
        self._expect_tokenizer(what)
        try:
            found: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        except Exception as e:  # the package has no class of its own for what has no token
            raise InvalidInput(f"{what} cannot be told in this model's tokens: {e}") from e
        if not found:
            raise InvalidInput(f"{what} has no tokens; give at least one")
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


def _is_long(request: GenerationRequest) -> bool:
    """Whether reading its prompt takes long, or says how long its answer may be."""
    prompt = request.prompt
    long = request.max_tokens is None or isinstance(prompt, Chat) or len(prompt) > ALONE
    return long and request.depth is not Policy.SEARCH  # which reads it in its own way
