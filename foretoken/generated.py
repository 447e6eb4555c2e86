"""What is told of generated text, here or over the wire: tokens, answers, searches of chains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "Found", "Menu", "MenuProgress", "SearchProgress", "Token", "Tried", "best_of"]


@dataclass(frozen=True)
class Token:
    """One generated token.

    Args:
        id: of the vocabulary.
        text: what is certain once it has come, which may be nothing yet, or more than its own.
        logprob: log-softmax of the raw logits, nats.
        likeliest: the likeliest tokens and their ``logprob``, as many as were asked for.
        finish: why the answer ends with it, "stop" or "length"; empty: it goes on. Over the wire
            the whole answer tells it instead.
    """

    id: int
    text: str
    logprob: float
    likeliest: tuple[tuple[int, float], ...] = ()
    finish: str = ""


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    Args:
        tokens: all of them, in order.
        finish: why it ended: "stop" or "length".
        chain: indices of the layers that were run, in order.
        layers_run: layers that were run for it: each of the chain for each token of prompt and
            answer that was computed.
        prompt_tokens: of the prompt.
        cached_tokens: those of the prompt whose keys and values were there already.
        model: that answered.
        version: of it.
        seed: with which the same is drawn again.
    """

    tokens: tuple[Token, ...]
    finish: str
    chain: tuple[int, ...]
    layers_run: int
    prompt_tokens: int
    cached_tokens: int
    model: str
    version: int
    seed: int = 0

    @property
    def text(self) -> str:
        """Of all tokens."""
        return "".join(token.text for token in self.tokens)

    @property
    def ref(self) -> str:
        """What answers in the same way again: ``NAME:VERSION``."""
        return f"{self.model}:{self.version}"


@dataclass(frozen=True)
class Tried:
    """A chain, what its answer was worth, in [0, 1], and the simulation that first chose it."""

    chain: tuple[int, ...]
    reward: float
    simulation: int


def best_of(tried: Sequence[Tried]) -> Tried:
    """Of the chains that are worth most, the shortest; of those, the first.

    Where none is worth anything, the first: in a search, the whole one.
    """
    if not any(each.reward for each in tried):
        return tried[0]
    return max(tried, key=lambda t: (t.reward, -len(t.chain), -t.simulation))


@dataclass(frozen=True)
class SearchProgress:
    """How far a search is: simulations, chains tried, and the best of them so far."""

    simulations: int
    tried: int
    best: Tried


@dataclass(frozen=True)
class Found:
    """What a search for one prompt found.

    Args:
        layers: of the model.
        tried: all chains, in the order in which they were; the first is the whole one.
        model: that answered.
        version: of it.
    """

    layers: int
    tried: tuple[Tried, ...]
    model: str
    version: int

    @property
    def best(self) -> Tried:
        """See ``best_of``."""
        return best_of(self.tried)


@dataclass(frozen=True)
class MenuProgress:
    """How far the making of a menu is.

    Args:
        stage: "search", "choose" or "measure".
        done: rows of it, of
        total: how many.
        row: that was searched last, by its place among the rows.
        layers: of the model, if a row was searched.
        tried: for that row, as in ``Found``.
    """

    stage: str
    done: int
    total: int
    row: int | None = None
    layers: int = 0
    tried: tuple[Tried, ...] = ()


@dataclass(frozen=True)
class Menu:
    """A menu of chains that was made of labelled prompts, and stored.

    Args:
        model: that it is of.
        version: the child version that has it.
        chains: of the menu.
        chooser: whether it has one, that picks a chain for each prompt.
        figures: what was measured on prompts that were held out.
    """

    model: str
    version: int
    chains: tuple[tuple[int, ...], ...]
    chooser: bool
    figures: Mapping[str, Any]

    @property
    def ref(self) -> str:
        """``NAME:VERSION``."""
        return f"{self.model}:{self.version}"
