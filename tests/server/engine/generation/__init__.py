"""A small decoder, continuations on it, and what they are without any cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch

from foretoken.models.cola.model import ColaConfig, ColaModel
from foretoken.models.generation import Continuation, Sampling
from foretoken.models.layers.decoder import DecoderShape
from foretoken.server.engine.generation.generator import Generator, Sizes

LAYERS, VOCAB = 4, 19


class Numbers:
    """Reads tokens as numbers; stops after one that it is told of."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.stopped = stop, False

    def read(self, token: int | None, *, last: bool) -> str:
        self.stopped = token is not None and token == self.stop
        return ("" if token is None else f"{token} ") + ("." if last else "")


@cache
def model() -> ColaModel:
    torch.manual_seed(0)
    shape = DecoderShape(VOCAB, 24, LAYERS, 6, 2, 8, 40, qkv_bias=True)
    made = ColaModel(ColaConfig(shape)).eval()
    for weights in made.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return made


def continuation(
    ids: Sequence[int],
    chain: Sequence[int] = (0, 1, 2, 3),
    most: int = 5,
    *,
    ends: Sequence[int] = (),
    stop: int | None = None,
    **sampling: float,
) -> Continuation:
    """One that tells the log-softmax of all tokens."""
    asked = Sampling(**sampling).over({})  # type: ignore[arg-type]
    reader = Numbers(stop)
    return Continuation(tuple(ids), tuple(chain), most, asked, frozenset(ends), reader, VOCAB)


def generator(poisoned: bool = True, **sizes: int) -> Generator:
    """One whose pool holds no numbers before they are written."""
    made = Generator(model(), Sizes(**{"blocks": 400, "block": 4, **sizes}))
    if poisoned:
        made.pool.keys.fill_(torch.nan)
        made.pool.values.fill_(torch.nan)
    return made


@cache
@torch.no_grad()
def uncached(ids: tuple[int, ...], chain: tuple[int, ...]) -> torch.Tensor:
    """Log-softmax of what follows, [V], of these tokens alone."""
    return model()(torch.tensor([ids]), chain)[0, -1].log_softmax(-1)


def assert_uncached(work: Continuation, answer: Sequence) -> None:
    """Each token of a greedy answer is the likeliest one, with the logits of an uncached run."""
    ids = work.ids
    for token in answer:
        wanted = uncached(ids, work.chain)
        told = torch.full((VOCAB,), torch.nan)
        for i, logprob in token.likeliest:
            told[i] = logprob
        torch.testing.assert_close(told, wanted, rtol=1e-5, atol=1e-5)
        assert token.id == int(wanted.argmax())
        assert token.logprob == told[token.id]
        ids = (*ids, token.id)
