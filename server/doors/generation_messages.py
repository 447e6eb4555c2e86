"""Messages of generation as typed requests, and what is told as messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import Message

from foretoken.errors import InvalidInput
from foretoken.generated import SearchProgress, Token, Tried
from foretoken.models.contract import Array
from foretoken.models.depth.requests import SearchOptions, SearchReply, SearchRequest
from foretoken.models.depth.verifiers import Confident, Exact, Matches
from foretoken.models.generation import Sampling
from foretoken.models.tasks import GenerationReply, GenerationRequest, ScoreReply, ScoreRequest
from foretoken.proto import generation as wire
from foretoken.server.doors.texts import TextLimits
from foretoken.server.menus import LabelledRow, MenuOptions, MenuProgress, MenuStored
from foretoken.server.registry.records import Version
from foretoken.server.settings import Settings

__all__ = ["Reading", "ended", "found", "menu_progress", "progress", "scored", "stored", "told"]

MAX_TOKENS = 16  # of an answer, unless it is said


class Reading:
    """Reads messages within the limits of a server.

    Args:
        settings: bytes of texts, texts of a message, and tokens of a request.
    """

    def __init__(self, settings: Settings) -> None:
        self._texts = TextLimits.of(settings)
        self._tokens = settings.request_tokens

    def generation(self, asked: wire.GenerateRequest, seed: int) -> GenerationRequest:
        """A prompt to continue; ``seed`` if the caller has none.

        Raises:
            InvalidInput: naming what is not acceptable.
        """
        if len(asked.ends) > self._tokens:
            raise InvalidInput(f"ends holds {len(asked.ends)} tokens; at most {self._tokens}")
        return GenerationRequest(
            prompt=self.prompt(asked.prompt),
            max_tokens=_most(asked),
            sampling=Sampling(**{"seed": seed, **_given(asked.sampling)}),
            chain=self._chain(asked),
            policy=asked.policy or None,
            verifier=_verifier(asked.verifier) if asked.HasField("verifier") else None,
            search=SearchOptions(**_given(asked.search)),
            stop=tuple(asked.stop),
            ends=tuple(asked.ends),
            logprobs=asked.logprobs,
        )

    def scoring(self, asked: wire.ScoreRequest) -> ScoreRequest:
        """Tokens to score; errors as above."""
        return ScoreRequest(self.prompt(asked.prompt), self._chain(asked))

    def search(self, asked: wire.SearchRequest) -> SearchRequest:
        """A prompt whose chains are searched; errors as above."""
        return SearchRequest(
            self.prompt(asked.problem.prompt),
            _verifier(asked.problem.verifier),
            _most(asked),
            SearchOptions(**_given(asked.options)),
        )

    def menu(self, asked: wire.SearchRequest) -> tuple[list[LabelledRow], MenuOptions]:
        """Labelled rows, and how a menu is made of them; errors as above, naming the row."""
        rows = asked.problems.rows
        if len(rows) > self._texts.texts:
            raise InvalidInput(
                f"{len(rows)} rows are more than this server takes, {self._texts.texts} (texts)"
            )
        self._texts.expect_short([len(row.prompt) for row in rows], 0)
        options = MenuOptions(
            **_given(asked.problems.options),
            search=SearchOptions(**_given(asked.options)),
            max_tokens=_most(asked),
        )
        return [_row(i, row) for i, row in enumerate(rows)], options

    def prompt(self, said: wire.Prompt) -> str | Array:
        """A text, or tokens, int64 [T]; errors as above."""
        kind = said.WhichOneof("said")
        if kind == "tokens":
            if len(said.tokens.ids) > self._tokens:
                raise InvalidInput(
                    f"a prompt of {len(said.tokens.ids)} tokens is longer than this server takes, "
                    f"{self._tokens} (request_tokens)"
                )
            return np.fromiter(said.tokens.ids, np.int64, len(said.tokens.ids))
        if kind is None:
            raise InvalidInput("prompt is missing: give its text, or its tokens")
        self._texts.expect_short([len(said.text)], 0)
        return _decoded("the prompt", said.text)

    def _chain(self, asked: Any) -> tuple[int, ...] | None:
        if not asked.HasField("chain"):
            return None
        if len(asked.chain.layers) > self._tokens:
            raise InvalidInput(f"a chain has at most {self._tokens} layers here")
        return tuple(asked.chain.layers)


def _most(asked: Any) -> int:
    return asked.max_tokens if asked.HasField("max_tokens") else MAX_TOKENS


def _given(message: Message) -> dict[str, Any]:
    """The fields that were said, by name."""
    return {field.name: value for field, value in message.ListFields()}


def _decoded(what: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise InvalidInput(f"{what} is not UTF-8: {e.reason} at byte {e.start}") from e


def _verifier(said: wire.Verifier) -> Exact | Matches | Confident:
    match said.WhichOneof("kind"):
        case "exact":
            return Exact(said.exact)
        case "pattern":
            return Matches(said.pattern)
        case "confident":
            return Confident()
    raise InvalidInput("verifier is one of exact, pattern and confident; none is said")


def _row(i: int, said: wire.Labelled) -> LabelledRow:
    try:
        verifier = _verifier(said.verifier)
        if isinstance(verifier, Confident):
            raise InvalidInput("its verifier is exact or pattern: confidence labels nothing")
        return LabelledRow(_decoded("its prompt", said.prompt), verifier)
    except InvalidInput as e:
        raise InvalidInput(f"row {i}: {e}") from e


# -- what is told ---------------------------------------------------------------------------------


def told(token: Token) -> wire.GenerateResponse:
    """A token."""
    likeliest = [wire.Likely(id=i, logprob=logprob) for i, logprob in token.likeliest]
    said = wire.Token(id=token.id, text=token.text, logprob=token.logprob, likeliest=likeliest)
    return wire.GenerateResponse(token=said)


def ended(reply: GenerationReply, version: Version) -> wire.GenerateResponse:
    """The end of an answer."""
    said = wire.Ended(
        finish=reply.finish,
        chain=wire.Chain(layers=reply.chain),
        layers_run=reply.layers_run,
        prompt_tokens=reply.prompt,
        cached_tokens=reply.reused,
        model=version.name,
        version=version.number,
    )
    return wire.GenerateResponse(ended=said)


def scored(reply: ScoreReply, version: Version) -> wire.ScoreResponse:
    """Tokens that were scored."""
    return wire.ScoreResponse(
        ids=reply.ids.tolist(),
        logprobs=reply.logprobs.tolist(),
        likeliest=reply.likeliest.tolist(),
        chain=wire.Chain(layers=reply.chain),
        model=version.name,
        version=version.number,
    )


def progress(done: SearchProgress) -> wire.SearchProgress:
    """How far a search is."""
    return wire.SearchProgress(
        simulations=done.simulations, tried=done.tried, best=_tried(done.best)
    )


def menu_progress(done: MenuProgress) -> wire.SearchResponse:
    """How far the making of a menu is."""
    said = wire.MenuProgress(stage=done.stage, done=done.done, total=done.total, row=done.row)
    if done.found is not None:
        said.found.layers = done.found.layers
        said.found.tried.extend(map(_tried, done.found.tried))
    return wire.SearchResponse(menu=said)


def found(reply: SearchReply, version: Version) -> wire.SearchResponse:
    """What a search found."""
    said = wire.Found(
        layers=reply.layers,
        tried=map(_tried, reply.tried),
        model=version.name,
        version=version.number,
    )
    return wire.SearchResponse(found=said)


def stored(made: MenuStored) -> wire.SearchResponse:
    """A menu that was stored."""
    said = wire.Stored(
        model=made.version.name,
        version=made.version.number,
        chains=_chains(made.chains),
        chooser=made.chooser,
        figures=json.dumps(made.figures),
    )
    return wire.SearchResponse(stored=said)


def _tried(each: Tried) -> wire.Tried:
    return wire.Tried(
        chain=wire.Chain(layers=each.chain), reward=each.reward, simulation=each.simulation
    )


def _chains(chains: Sequence[tuple[int, ...]]) -> list[wire.Chain]:
    return [wire.Chain(layers=chain) for chain in chains]
