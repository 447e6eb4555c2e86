"""Verifiers: what says whether an answer that a chain of layers gave is right.

Of those here, ``Exact`` takes one pass over prompt and answer; for others, it is generated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foretoken.arrays import expect_unicode
from foretoken.errors import InvalidInput

if TYPE_CHECKING:
    from foretoken.models.tasks import GenerationReply

__all__ = ["Confident", "Exact", "Matches", "Verifier", "reward_of"]

PATTERN = 1000  # characters of a pattern, at most


@dataclass(frozen=True)
class Exact:
    """The likeliest tokens are those of this answer, as the tokenizer writes it, and it ends there.

    Args:
        answer: that follows the prompt, at least one token.
    """

    answer: str

    def __post_init__(self) -> None:
        expect_unicode((self.answer,), "the answer")
        if not self.answer:
            raise InvalidInput("an exact answer must not be empty")


@dataclass(frozen=True)
class Matches:
    """The answer's text matches a regular expression, somewhere.

    Args:
        pattern: in RE2's syntax, which any text is matched with in linear time: callers' patterns
            run in the server. ``^`` and ``$`` stand for the text's ends.
    """

    pattern: str

    def __post_init__(self) -> None:
        expect_unicode((self.pattern,), "the pattern")
        if len(self.pattern) > PATTERN:
            raise InvalidInput(f"a pattern has at most {PATTERN} characters")
        self._compiled()

    def __call__(self, text: str) -> bool:
        """Whether the text matches."""
        return self._compiled().search(text) is not None

    def _compiled(self) -> Any:
        import re2  # noqa: PLC0415  (searches alone need it)

        options = re2.Options()
        options.log_errors = False
        try:
            return re2.compile(self.pattern, options)
        except re2.error as e:
            said = e.args[0] if e.args else ""
            why = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
            raise InvalidInput(f"{self.pattern!r} is not a regular expression of RE2: {why}") from e


@dataclass(frozen=True)
class Confident:
    """How sure the model is: the geometric mean of its tokens' probabilities, in (0, 1]."""


# A callable takes the answer's text and gives a reward in [0, 1], or whether it is right; it runs
# in this process.
Verifier = Exact | Matches | Confident | Callable[[str], float]


def reward_of(verifier: Verifier, reply: GenerationReply) -> float:
    """What a generated answer is worth, in [0, 1]; not of ``Exact``, which generates none.

    Raises:
        InvalidInput: a caller's verifier gives something else.
    """
    if isinstance(verifier, Confident):
        logprobs = [token.logprob for token in reply.tokens]
        return math.exp(sum(logprobs) / len(logprobs))
    if isinstance(verifier, Exact):
        raise InvalidInput("an exact answer is verified by its tokens' logits")
    given = float(verifier(reply.text))
    if not 0 <= given <= 1:
        raise InvalidInput(f"a verifier gives a number of 0 to 1, not {given!r}")
    return given
