"""A continuation on its way through the layers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foretoken.errors import ForetokenError, InternalError
from foretoken.models.generation import Continuation
from foretoken.models.tasks import GenerationReply, ScoreReply, Token
from foretoken.server.engine.generation.prefix import extended, roots

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Decoding"]


@dataclass(eq=False, slots=True)
class Decoding:
    """A continuation on its way: the tokens of its *pass* go through the chain together.

    Args:
        work: what is to be continued.
        number: in the order of arrival.
        size: tokens of a block.
        owner: whose it is; prefixes are shared among an owner's.
    """

    work: Continuation
    number: int
    size: int
    owner: str = ""
    tokens: list[int] = field(init=False)  # the prompt, and what was generated
    answer: list[Token] = field(default_factory=list)
    finish: str = ""  # why it ended, once it has
    score: ScoreReply | None = None  # of one that is scored, once it is
    error: ForetokenError | None = None  # that ended it
    reused: int | None = None  # tokens of the prompt that were not computed, once that is known
    # By position of the chain: its blocks, and how many of them others wrote.
    tables: list[list[int]] = field(init=False)
    shared: list[int] = field(init=False)
    roots: list[bytes] = field(init=False)
    digests: list[bytes] = field(default_factory=list)  # of the full blocks of tokens
    # The pass: tokens begin to end, which need the chain's position `at` next.
    begin: int = 0
    end: int = 0
    at: int = 0
    hidden: Tensor | None = None
    waited: int = 0  # turns, since it last took part in one
    layers: int = 0  # that were run, each token counted
    # Seconds without blocks, up to when it had them last, and since when it has none again.
    idle: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.tokens = list(self.work.ids)
        self.roots = roots(self.work.chain, self.owner)
        self.clear()

    @property
    def count(self) -> int:
        """Tokens of the pass."""
        return self.end - self.begin

    @property
    def whole(self) -> bool:
        """Whether the pass ends at the last token, which is what logits are asked for."""
        return self.end == len(self.tokens)

    @property
    def blocks(self) -> list[int]:
        """All blocks in use, those of the last tokens first: of a prefix, the end goes first."""
        longest = max(map(len, self.tables), default=0)
        return [t[b] for b in reversed(range(longest)) for t in reversed(self.tables) if b < len(t)]

    @property
    def reply(self) -> GenerationReply | ScoreReply:
        """The answer, once it has ended."""
        if self.score is not None:
            return self.score
        work = self.work
        return GenerationReply(
            tuple(self.answer),
            self.finish,
            work.chain,
            len(work.ids),
            self.reused or 0,
            self.layers,
        )

    def failed(self, error: Exception) -> None:
        """It ends here, by an error of its own."""
        self.finish = "error"
        if isinstance(error, ForetokenError):
            self.error = error
        else:
            self.error = InternalError(f"an answer could not be read: {error}")

    def clear(self) -> None:
        """Forget all that was computed but the answer."""
        self.tables = [[] for _ in self.work.chain]
        self.shared = [0] * len(self.work.chain)
        self.begin = self.end = self.at = self.waited = 0
        self.hidden = None

    def hash(self) -> list[bytes]:
        """Digests of the full blocks of tokens."""
        extended(self.digests, self.tokens, self.size)
        return self.digests

    def pass_on(self, longest: int) -> None:
        """Begin the pass of the next tokens, at most ``longest``; of all that are scored."""
        self.begin, self.at, self.hidden = self.end, 0, None
        self.end = len(self.tokens)
        if not self.work.scored:
            self.end = min(self.end, self.begin + longest)
