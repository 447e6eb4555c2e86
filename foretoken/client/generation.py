"""Generation: what is sent to continue, score and search prompts, and how replies are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from foretoken.arrays import expect_unicode
from foretoken.client.methods import method
from foretoken.client.operations import Steps, Unary, message
from foretoken.errors import FailedPrecondition, InternalError, InvalidInput, InvalidType
from foretoken.generated import Answer, Found, Menu, MenuProgress, SearchProgress, Token, Tried
from foretoken.proto import generation as wire

__all__ = [
    "Asked",
    "Hear",
    "Heard",
    "Prompted",
    "Row",
    "Searched",
    "detokenize",
    "menu",
    "score",
    "search",
    "tokenize",
]

Prompted: TypeAlias = str | Sequence[int] | NDArray[np.integer[Any]]
Row: TypeAlias = Mapping[str, str]
Hear: TypeAlias = Callable[[SearchProgress | MenuProgress], None]

ROWS = ("prompt", "answer", "pattern")
_UNENDED = "the answer has not ended; take all of its tokens first"


@dataclass(frozen=True)
class Asked:
    """A prompt to continue, and how; see ``Client.generate``."""

    model: str
    prompt: Prompted
    max_tokens: int
    chain: Sequence[int] | None = None
    policy: str | None = None
    sampling: Mapping[str, float | None] = field(default_factory=dict)
    stop: Sequence[str] = ()
    ends: Sequence[int] = ()
    logprobs: int = 0
    answer: str | None = None
    pattern: str | None = None
    confident: bool = False
    search: Mapping[str, float | None] = field(default_factory=dict)
    key: str | None = None

    def message(self) -> wire.GenerateRequest:
        """As the wire has it.

        Raises:
            InvalidInput: naming what is not acceptable.
        """
        if isinstance(self.stop, str):
            raise InvalidType("stop is a list of str; give one text as [text]")
        judged = self.answer is not None or self.pattern is not None or self.confident
        return message(
            wire.GenerateRequest,
            model=self.model,
            prompt=_prompt(self.prompt),
            max_tokens=self.max_tokens,
            sampling=message(wire.Sampling, **self.sampling),
            chain=_chain(self.chain),
            policy=self.policy,
            verifier=_verifier(self.answer, self.pattern, self.confident) if judged else None,
            search=message(wire.SearchOptions, **self.search),
            stop=list(self.stop),
            ends=list(self.ends),
            logprobs=self.logprobs,
            key=self.key,
        )


class Heard:
    """What has come of an answer so far."""

    def __init__(self) -> None:
        self._tokens: list[Token] = []
        self._seed = 0
        self._answer: Answer | None = None

    def token(self, said: wire.GenerateResponse) -> Token | None:
        """The token that a message tells, if it tells one.

        Raises:
            InternalError: it tells nothing.
        """
        match said.WhichOneof("message"):
            case "begun":
                self._seed = said.begun.seed
            case "token":
                likeliest = tuple((each.id, each.logprob) for each in said.token.likeliest)
                token = Token(said.token.id, said.token.text, said.token.logprob, likeliest)
                self._tokens.append(token)
                return token
            case "ended":
                self._answer = self._whole(said.ended)
            case _:
                raise InternalError("the reply is malformed: a message tells nothing", id="")
        return None

    @property
    def answer(self) -> Answer:
        """The whole answer.

        Raises:
            FailedPrecondition: it has not ended.
        """
        if self._answer is None:
            raise FailedPrecondition(_UNENDED)
        return self._answer

    def _whole(self, said: wire.Ended) -> Answer:
        return Answer(
            tokens=tuple(self._tokens),
            finish=said.finish,
            chain=tuple(said.chain.layers),
            layers_run=said.layers_run,
            prompt_tokens=said.prompt_tokens,
            cached_tokens=said.cached_tokens,
            model=said.model,
            version=said.version,
            seed=self._seed,
        )


def score(
    model: str, ids: Prompted, chain: Sequence[int] | None, key: str | None
) -> Steps[NDArray[np.float32]]:
    """Logprobs of all tokens but the first, float32 [T - 1]."""
    request = message(
        wire.ScoreRequest, model=model, prompt=_prompt(ids), chain=_chain(chain), key=key
    )
    reply = yield Unary(method("Generation.Score"), request)
    if len(reply.logprobs) != len(reply.ids) - 1:
        raise InternalError(
            f"the reply is malformed: {len(reply.logprobs)} figures of {len(reply.ids)} tokens",
            id="",
        )
    return np.array(reply.logprobs, np.float32)


def tokenize(model: str, text: str, key: str | None) -> Steps[list[int]]:
    """The tokens of a text."""
    if not isinstance(text, str):
        raise InvalidType(f"text is a str, not a {type(text).__name__}")
    request = message(wire.TokenizeRequest, model=model, prompt=_prompt(text), key=key)
    reply = yield Unary(method("Generation.Tokenize"), request)
    return list(reply.ids)


def detokenize(model: str, ids: Sequence[int], key: str | None) -> Steps[str]:
    """The text of tokens."""
    if isinstance(ids, str):
        raise InvalidType("ids are integers, not a str")
    request = message(wire.TokenizeRequest, model=model, prompt=_prompt(ids), key=key)
    reply = yield Unary(method("Generation.Tokenize"), request)
    return str(reply.text)


def search(
    model: str,
    prompt: Prompted,
    answer: str | None,
    pattern: str | None,
    confident: bool,
    max_tokens: int,
    options: Mapping[str, float | None],
    key: str | None,
) -> wire.SearchRequest:
    """What is sent to search chains for one prompt."""
    problem = wire.Problem(prompt=_prompt(prompt), verifier=_verifier(answer, pattern, confident))
    return message(
        wire.SearchRequest,
        model=model,
        problem=problem,
        max_tokens=max_tokens,
        options=message(wire.SearchOptions, **options),
        key=key,
    )


def menu(
    model: str,
    rows: Iterable[Row],
    max_tokens: int,
    search: Mapping[str, float | None],
    options: Mapping[str, float | None],
    key: str | None,
) -> wire.SearchRequest:
    """What is sent to make a menu of labelled prompts."""
    problems = wire.Problems(
        rows=[_row(i, row) for i, row in enumerate(rows)],
        options=message(wire.MenuOptions, **options),
    )
    return message(
        wire.SearchRequest,
        model=model,
        problems=problems,
        max_tokens=max_tokens,
        options=message(wire.SearchOptions, **search),
        key=key,
    )


class Searched:
    """What has come of a search so far.

    Args:
        hear: is told how far it is.
    """

    def __init__(self, hear: Hear | None) -> None:
        self._hear = hear
        self._result: Found | Menu | None = None

    def take(self, said: wire.SearchResponse) -> None:
        """A message.

        Raises:
            InternalError: it tells nothing.
        """
        match said.WhichOneof("message"):
            case "progress":
                self._told(_progress(said.progress))
            case "menu":
                self._told(_menu_progress(said.menu))
            case "found":
                found = said.found
                tried = tuple(map(_tried, found.tried))
                self._result = Found(found.layers, tried, found.model, found.version)
            case "stored":
                self._result = _stored(said.stored)
            case _:
                raise InternalError("the reply is malformed: a message tells nothing", id="")

    def result(self) -> Any:
        """What was found or stored.

        Raises:
            InternalError: the stream has ended without it.
        """
        if self._result is None:
            raise InternalError("the reply is malformed: the search has no end", id="")
        return self._result

    def _told(self, done: SearchProgress | MenuProgress) -> None:
        if self._hear is not None:
            self._hear(done)


# -- from what callers bring ----------------------------------------------------------------------


def _prompt(given: Prompted) -> wire.Prompt:
    if isinstance(given, str):
        expect_unicode((given,), "the prompt")
        return wire.Prompt(text=given.encode())
    if isinstance(given, bytes):
        raise InvalidType("a prompt is a str or a list of token ids, not bytes")
    ids = _integers("the prompt", given)
    return wire.Prompt(tokens=message(wire.Tokens, ids=ids))


def _chain(given: Sequence[int] | None) -> wire.Chain | None:
    if given is None:
        return None
    return message(wire.Chain, layers=_integers("chain", given))


def _integers(what: str, given: Any) -> list[int]:
    try:
        made = np.asarray(given)
    except ValueError as e:
        raise InvalidInput(f"{what} is a list of integers: {e}") from e
    if made.size and made.dtype.kind not in "iu":
        raise InvalidType(f"{what} is a list of integers, not {given!r}")
    if made.ndim != 1:
        raise InvalidInput(f"{what} is one list of integers, not of {made.ndim} axes")
    found: list[int] = made.astype(np.int64).tolist()
    return found


def _verifier(answer: str | None, pattern: str | None, confident: bool) -> wire.Verifier:
    given = [answer is not None, pattern is not None, confident]
    if sum(given) != 1:
        raise InvalidInput("a search takes one of answer, pattern and confident")
    confidence = wire.Confidence() if confident else None
    return message(wire.Verifier, exact=answer, pattern=pattern, confident=confidence)


def _row(i: int, row: Row) -> wire.Labelled:
    if not isinstance(row, Mapping) or "prompt" not in row or not set(row) <= set(ROWS):
        raise InvalidInput(f"row {i} is a mapping of 'prompt' and 'answer' or 'pattern': {row!r}")
    if not isinstance(row["prompt"], str):
        raise InvalidType(f"row {i}: its prompt is a str, not {row['prompt']!r}")
    try:
        expect_unicode((row["prompt"],), "its prompt")
        verifier = _verifier(row.get("answer"), row.get("pattern"), confident=False)
    except InvalidInput as e:
        raise InvalidInput(f"row {i}: {e}") from e
    return wire.Labelled(prompt=row["prompt"].encode(), verifier=verifier)


# -- from replies ---------------------------------------------------------------------------------


def _tried(said: wire.Tried) -> Tried:
    return Tried(tuple(said.chain.layers), said.reward, said.simulation)


def _progress(said: wire.SearchProgress) -> SearchProgress:
    return SearchProgress(said.simulations, said.tried, _tried(said.best))


def _menu_progress(said: wire.MenuProgress) -> MenuProgress:
    row = said.row if said.HasField("row") else None
    tried = tuple(map(_tried, said.found.tried))
    return MenuProgress(said.stage, said.done, said.total, row, said.found.layers, tried)


def _stored(said: wire.Stored) -> Menu:
    try:
        figures = dict(json.loads(said.figures or "{}"))
    except (TypeError, ValueError) as e:
        raise InternalError(f"the reply is malformed: {e}", id="") from e
    chains = tuple(tuple(chain.layers) for chain in said.chains)
    return Menu(said.model, said.version, chains, said.chooser, figures)
