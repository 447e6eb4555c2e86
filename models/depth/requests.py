"""What a search for chains of layers takes, and what it finds.

Letters: N layers of the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from foretoken.arrays import expect_unicode
from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.depth.chains import Chain
from foretoken.models.depth.verifiers import Verifier

__all__ = ["SearchOptions", "SearchProgress", "SearchReply", "SearchRequest", "Tried"]

SIMULATIONS = 100_000  # at most


@dataclass(frozen=True)
class SearchOptions:
    """Of a Monte Carlo tree search over chains (Li et al. 2025, section 3).

    Args:
        simulations: chains that are chosen, the whole one first; of one that comes again, the
            result is known.
        exploration: c of the upper confidence bound Q / v + c sqrt(ln V / v) - penalty |P| / N.
        length_penalty: lambda of the same: per layer of a chain, as a share of the model's.
        random_child: how often a child that was never tried is drawn, whatever the bound says.
        block: layers that are skipped or repeated together, and times that they are, at most.
        longest: layers of a chain, at most; None: twice the model's.
        together: chains that are tried at a time; of more than one, those after the first are
            chosen before the results of others are known.
        seed: of what is drawn.

    Raises:
        InvalidInput: one of these is out of range.
    """

    simulations: int = 200
    exploration: float = 1.0
    length_penalty: float = 5.0
    random_child: float = 0.1
    block: int = 4
    longest: int | None = None
    together: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, most in (("simulations", SIMULATIONS), ("block", 64), ("together", 1024)):
            if not 1 <= getattr(self, name) <= most:
                raise InvalidInput(f"{name} is 1 to {most}, not {getattr(self, name)}")
        for name in ("exploration", "length_penalty", "random_child"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInput(f"{name} is 0 or more, not {getattr(self, name)}")
        if self.random_child > 1:
            raise InvalidInput(f"random_child is at most 1, not {self.random_child}")
        if self.longest is not None and self.longest < 1:
            raise InvalidInput(f"longest is at least 1, not {self.longest}")


@dataclass(frozen=True)
class SearchRequest:
    """A prompt, and what says which of its answers are right.

    Args:
        prompt: a text, or token ids, int [T].
        verifier: of the answers; those over the wire are ``Exact``, ``Matches`` and ``Confident``.
        max_tokens: of an answer that is generated.
        options: of the search.
    """

    prompt: str | Array
    verifier: Verifier
    max_tokens: int = 16
    options: SearchOptions = field(default_factory=SearchOptions)

    def __post_init__(self) -> None:
        if isinstance(self.prompt, str):
            expect_unicode((self.prompt,), "the prompt")
        elif self.prompt.ndim != 1 or self.prompt.size == 0 or self.prompt.dtype.kind not in "iu":
            raise InvalidInput("prompt must be a text or a list of at least one token")
        if self.max_tokens < 1:
            raise InvalidInput(f"max_tokens must be at least 1, not {self.max_tokens}")


@dataclass(frozen=True)
class Tried:
    """A chain, what its answer was worth, in [0, 1], and the simulation that first chose it."""

    chain: Chain
    reward: float
    simulation: int


@dataclass(frozen=True)
class SearchProgress:
    """How far a search is: simulations, chains tried, and the best of them so far."""

    simulations: int
    tried: int
    best: Tried


@dataclass(frozen=True)
class SearchReply:
    """What a search found.

    Args:
        layers: N.
        tried: all chains, in the order in which they were; the first is the whole one.
    """

    layers: int
    tried: tuple[Tried, ...]

    @property
    def best(self) -> Tried:
        """Of the chains that are worth most, the shortest; of those, the first."""
        return max(self.tried, key=lambda t: (t.reward, -len(t.chain), -t.simulation))
