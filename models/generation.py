"""What generative families and the engine say to each other where layers take the place of graphs.

A family's predictor yields a ``Continuation``, whose tokens are told as they come, or several
``Together``; the engine runs them layer by layer, in company with others, and sends back a
``tasks.GenerationReply`` for each, or a ``tasks.ScoreReply``. The module is ``Layered``.

Letters: T tokens of a prompt, N tokens of a batch, W width, H heads of queries, K heads of keys and
values, D head width, V tokens of the vocabulary.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from foretoken.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Chat", "Continuation", "Keeping", "Layered", "Reader", "Sampling", "Together"]

SEEDS = 1 << 64


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn from its logits; what is None is the model's own.

    In this order: repeated tokens are made less likely, logits are divided by the temperature, and
    tokens are left out by top-k, top-p and min-p.

    Args:
        temperature: 0 takes the likeliest token, and the filters say nothing then.
        top_k: so many of the likeliest tokens stay; 0: all.
        top_p: the fewest likeliest tokens stay whose probabilities sum up to this, in (0, 1].
        min_p: tokens stay that have this share of the likeliest one's probability, in [0, 1].
        repetition_penalty: above 0; positive logits of tokens that have been seen are divided by
            it, negative ones multiplied (Keskar et al. 2019).
        seed: of what is drawn, in [0, 2^64); with a token's position it decides alone.

    Raises:
        InvalidInput: one of these is out of range.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self._expect("temperature", "0 or more", lambda x: x >= 0)
        self._expect("top_k", "an integer of 0 or more", lambda x: isinstance(x, int) and x >= 0)
        self._expect("top_p", "above 0 and at most 1", lambda x: 0 < x <= 1)
        self._expect("min_p", "0 to 1", lambda x: 0 <= x <= 1)
        self._expect("repetition_penalty", "above 0", lambda x: x > 0)
        self._expect("seed", "an integer of 0 to 2^64 - 1", lambda x: 0 <= x < SEEDS)
        if not isinstance(self.seed, int):
            raise InvalidInput(f"seed must be an integer, not {self.seed!r}")

    def _expect(self, name: str, accepted: str, fits: Callable[[float], bool]) -> None:
        value = getattr(self, name)
        if value is None:
            return
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Compared and not converted: integers may be larger than any float.
        if not (number and abs(value) <= sys.float_info.max and fits(value)):
            raise InvalidInput(f"{name} must be {accepted}, not {value!r}")

    def over(self, defaults: Mapping[str, float]) -> Sampling:
        """The same with ``defaults``, by name, for what is left open, and neutral values then."""
        neutral = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
        known = {**neutral, "repetition_penalty": 1.0, **defaults}
        left = [f.name for f in fields(self) if getattr(self, f.name) is None]
        return replace(self, **{name: known[name] for name in left})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Chat:
    """A conversation that the model's own template makes a prompt of, up to where it answers.

    Args:
        messages: what JSON can say; each has a "role", and what else the template reads.
        variables: of the template beside the messages, by name.

    Raises:
        InvalidInput: there are no messages, or one has no role.
    """

    messages: tuple[Mapping[str, Any], ...]
    variables: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.messages:
            raise InvalidInput("messages must not be empty; give at least one")
        for i, message in enumerate(self.messages):
            if not isinstance(message.get("role"), str) or not message["role"]:
                raise InvalidInput(f"message {i} has no role, such as 'user'")


class Reader(Protocol):
    """Turns the tokens of one answer into text, piece by piece."""

    def read(self, token: int | None, *, last: bool) -> str:
        """The text that is certain once ``token`` has come after those before.

        Args:
            token: that has come; None: one without text.
            last: whether no more will come, so that all of the text is certain.
        """

    @property
    def stopped(self) -> bool:
        """Whether the text has come to a place where it is to stop, which it then ends before."""


@dataclass(frozen=True)
class Continuation:
    """Tokens to be continued.

    Args:
        ids: the prompt, T of them.
        chain: indices of the layers that every token passes, in order.
        most: tokens of the answer, at most.
        sampling: with nothing left open.
        ends: tokens that end the answer, and are part of it without text.
        reader: of the answer, for this continuation alone.
        logprobs: how many of the likeliest tokens are told beside each that was chosen.
        scored: that the prompt's own tokens are to be scored, in one pass that keeps nothing and
            reads nothing that was kept, and none added.
    """

    ids: tuple[int, ...]
    chain: tuple[int, ...]
    most: int
    sampling: Sampling
    ends: frozenset[int]
    reader: Reader
    logprobs: int = 0
    scored: bool = False


@dataclass(frozen=True)
class Together:
    """Continuations whose replies are asked for, in order, and none of their tokens before."""

    works: tuple[Continuation, ...]


class Keeping(ABC):
    """Attention that keeps keys and values, and can turn keys as it does: one launch on a GPU."""

    @abstractmethod
    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries [N, H, D], keys and values [N, K, D] -> what each query saw, [N, H, D]."""

    @abstractmethod
    def unturned(self, q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """The same for queries and keys that ``kernels.rope`` has yet to turn, by [N, D / 2]."""


class Layered(Protocol):
    """A module whose layers are run one by one."""

    layers: int
    kv_heads: int  # K
    head_width: int  # D

    def embed(self, ids: Tensor) -> Tensor:
        """Tokens int64 [N] -> [N, W]."""

    def turned(self, positions: Tensor) -> Any:
        """What layers need to know of the tokens' positions in their requests, int64 [N]."""

    def layer(
        self,
        index: int,
        h: Tensor,
        turned: Any,
        attend: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """One layer on tokens of any requests.

        Args:
            index: of the layer.
            h: [N, W].
            turned: of their positions.
            attend: queries [N, H, D], keys and values [N, K, D] -> what each query saw, [N, H, D];
                perhaps ``Keeping``.

        Returns:
            [N, W].
        """

    def logits(self, h: Tensor) -> Tensor:
        """[N, W] -> [N, V]."""
