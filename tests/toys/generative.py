"""Generative: a one-layer attention decoder over token ids, whose keys and values grow.

Letters: B prompts, T new tokens (padded), S tokens seen before (padded), W width, V tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from foretoken.models.contract import (
    Array,
    Arrays,
    Call,
    Config,
    Emit,
    Graph,
    Kind,
    Predictor,
    Steps,
    Tensor,
)
from foretoken.models.tasks import GenerationReply, GenerationRequest, Task, Token


class Predict:
    """Greedy; the state holds the K/V of all tokens that have been given or chosen but the last."""

    def __init__(self, width: int) -> None:
        self.width = width

    def start(self) -> Arrays:
        none = np.zeros((1, 0, self.width), np.float32)
        return {"keys": none, "values": none, "seen": np.zeros(1, np.int64)}

    def piece(self, token: int) -> str | None:
        return chr(97 + token)

    def predict(self, request: GenerationRequest, state: Any = None) -> Steps:
        kept = dict(self.start()) if state is None else state
        graph, new = "prefill", np.asarray(request.prompt)
        chosen: list[Token] = []
        assert request.max_tokens is not None
        while len(chosen) < request.max_tokens:
            tokens = {"tokens": new[None].astype(np.int64), "length": np.array([len(new)])}
            (made,) = yield [Call(graph, tokens, kept)]
            token = likeliest(made["logits"][0])
            chosen.append(token)
            yield Emit(token)
            if token.id in request.ends:
                return GenerationReply(tuple(chosen), "stop")
            graph, new = "decode", np.array([token.id])
        return GenerationReply(tuple(chosen), "length")

    def tokens(self, text: str) -> tuple[int, ...]:
        return tuple(ord(letter) - 97 for letter in text)

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(chr(97 + token) for token in tokens)


def likeliest(logits: Array) -> Token:
    spread = logits.astype(np.float64) - logits.max()
    chosen = int(spread.argmax())
    return Token(chosen, chr(97 + chosen), float(-np.log(np.exp(spread).sum())))


class Generative:
    name = "generative"
    task = Task.GENERATION
    kind = Kind.GENERATIVE
    summary = "A one-layer attention decoder"
    source = "Vaswani et al. 2017, Attention Is All You Need"
    small: Mapping[str, Any] = {"tokens": 12, "width": 16}
    recipe = None
    importers: Mapping[str, Any] = {}

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        V, W = config["tokens"], config["width"]
        tokens, length = Tensor("tokens", "int64", ("B", "T")), Tensor("length", "int64", ("B",))
        logits, seen = Tensor("logits", "float32", ("B", V)), Tensor("seen", "int64", ("B",))
        old = tuple(Tensor(name, "float32", ("B", "S", W)) for name in ("keys", "values"))
        new = tuple(Tensor(name, "float32", ("B", "T", W)) for name in ("keys", "values"))
        return (
            Graph("prefill", (tokens, length), (logits,), (), (*new, seen)),
            Graph("decode", (tokens, length), (logits,), (*old, seen), (*new, seen)),
        )

    def module(self, config: Config) -> Any:
        from tests.toys.modules import Decoder

        return Decoder(config["tokens"], config["width"])

    def predictor(self, config: Config, weights: Arrays) -> Predictor:
        return Predict(config["width"])

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        rng = np.random.default_rng(0)
        V, W = config["tokens"], config["width"]
        for B, T, S, scale in (
            (1, 1, 0, 1),
            (2, 5, 3, 1),
            (3, 1, 40, 200),
            (1, 32, 1, 0),
            (2, 1, 7, 1),
        ):
            length = rng.integers(1, T + 1, B)
            made = {"tokens": rng.integers(0, V, (B, T)), "length": length}
            if graph == "decode":
                keys, values = rng.standard_normal((2, B, S, W)).astype(np.float32)
                made |= {"keys": scale * keys, "values": values}
                made["seen"] = rng.integers(0, S + 1, B)
            yield made


FAMILY = Generative()
