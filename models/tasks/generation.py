"""Prompts to continue, and tokens to score."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from foretoken.arrays import expect_unicode
from foretoken.errors import InvalidInput
from foretoken.generated import Token
from foretoken.models.contract import Array
from foretoken.models.depth.requests import SearchOptions
from foretoken.models.depth.verifiers import Verifier
from foretoken.models.generation import Chat, Sampling

__all__ = [
    "LOGPROBS",
    "STOPS",
    "GenerationReply",
    "GenerationRequest",
    "Policy",
    "ScoreReply",
    "ScoreRequest",
    "Token",
]

LOGPROBS, STOPS = 20, 16  # at most


class Policy(StrEnum):
    """Who says which layers a prompt passes.

    The model as it was trained, the caller, the version's menu of chains, or a search for this
    prompt alone.
    """

    FULL = "full"
    CHAIN = "chain"
    MENU = "menu"
    SEARCH = "search"


@dataclass(frozen=True)
class GenerationRequest:
    """A prompt to continue.

    Args:
        prompt: a text, token ids, int [T], or a conversation.
        max_tokens: stop after that many; None: after as many as the model has positions for.
        sampling: how tokens are drawn.
        chain: indices of the layers to run, in order, repeats allowed.
        policy: who says which layers; the default is "chain" where one is given, or else "full".
        verifier: of answers, for the policy "search", which needs one.
        search: options of that.
        stop: texts before which the answer ends.
        ends: token ids that end the answer, beside the model's own.
        logprobs: how many of the likeliest tokens to tell beside each that was chosen.
    """

    prompt: str | Array | Chat
    max_tokens: int | None
    sampling: Sampling = field(default_factory=Sampling)
    chain: tuple[int, ...] | None = None
    policy: str | None = None
    verifier: Verifier | None = None
    search: SearchOptions = field(default_factory=SearchOptions)
    stop: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()
    logprobs: int = 0

    @property
    def depth(self) -> Policy:
        """The policy in force."""
        if self.policy is None:
            return Policy.FULL if self.chain is None else Policy.CHAIN
        return Policy(self.policy)

    def __post_init__(self) -> None:
        if isinstance(self.prompt, str):
            expect_unicode((self.prompt,), "the prompt")
        elif not isinstance(self.prompt, Chat) and not _are_tokens(self.prompt):
            raise InvalidInput("prompt must be a text or a list of at least one token")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidInput(f"max_tokens must be at least 1, not {self.max_tokens}")
        if not 0 <= self.logprobs <= LOGPROBS:
            raise InvalidInput(f"logprobs is 0 to {LOGPROBS}, not {self.logprobs}")
        if "" in self.stop or len(self.stop) > STOPS:
            raise InvalidInput(f"stop holds at most {STOPS} texts, none of them empty")
        expect_unicode(self.stop, "stop")
        self._expect_policy()

    def _expect_policy(self) -> None:
        if self.policy is not None and self.policy not in list(Policy):
            raise InvalidInput(f"policy is one of {', '.join(Policy)}, not {self.policy!r}")
        if (self.depth is Policy.CHAIN) != (self.chain is not None):
            raise InvalidInput("a chain and the policy 'chain' go together")
        if (self.depth is Policy.SEARCH) != (self.verifier is not None):
            raise InvalidInput("a verifier and the policy 'search' go together")


def _are_tokens(ids: Array) -> bool:
    return ids.ndim == 1 and ids.size > 0 and ids.dtype.kind in "iu"


@dataclass(frozen=True)
class ScoreRequest:
    """Tokens, each but the first to be told how likely it was after those before it.

    Args:
        prompt: a text, or token ids, int [T], at least two.
        chain: as of ``GenerationRequest``.
    """

    prompt: str | Array
    chain: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.prompt, str):
            expect_unicode((self.prompt,), "the prompt")
        elif self.prompt.ndim != 1 or self.prompt.dtype.kind not in "iu":
            raise InvalidInput("prompt must be a text or a list of tokens")


@dataclass(frozen=True)
class ScoreReply:
    """How likely tokens were, computed without any cache.

    Args:
        ids: int64 [T].
        logprobs: log-softmax of the raw logits, nats, float32 [T - 1]: of each token but the first.
        likeliest: the tokens that were likeliest in their places, int64 [T - 1].
        chain: that was run.
    """

    ids: Array
    logprobs: Array
    likeliest: Array
    chain: tuple[int, ...] = ()


@dataclass(frozen=True)
class GenerationReply:
    """The whole answer.

    Args:
        tokens: all of them.
        finish: why it ended: "stop" or "length".
        chain: that was run.
        prompt: tokens of the prompt.
        reused: tokens of the prompt whose keys and values were there already.
        layers_run: each token counted; what is computed again counts again.
    """

    tokens: tuple[Token, ...]
    finish: str
    chain: tuple[int, ...] = ()
    prompt: int = 0
    reused: int = 0
    layers_run: int = 0

    @property
    def text(self) -> str:
        """The answer's."""
        return "".join(token.text for token in self.tokens)
