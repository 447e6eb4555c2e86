"""Kinds of models by their state, what a model has seen, and what a predictor of each kind offers.

==========  =======================================  ====================================
kind        state                                    who keeps it
==========  =======================================  ====================================
stateless   none                                     nobody
in_context  written once by ``fit``, then only read  the store, under a content address
recurrent   fixed size, replaced by every call       a slot; as a snapshot, the store
generative  grows along its one lettered axis        K/V blocks, shared by equal prefixes
==========  =======================================  ====================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from foretoken.models.contract import Arrays, Context, Steps, Tensor

__all__ = ["Generative", "InContext", "Kind", "Recurrent"]


class Kind(StrEnum):
    """How long a state lives."""

    STATELESS = "stateless"
    IN_CONTEXT = "in_context"
    RECURRENT = "recurrent"
    GENERATIVE = "generative"


class InContext(Protocol):
    """Of a model that is given a training set; ``predict``'s state is a ``Context`` or None.

    Without a context, ``predict`` fits the request's own training set first: the same numbers.
    """

    version: int  # of what happens before the graphs: other versions make other contexts
    keeps: tuple[Tensor, ...]  # of a state, beside what graphs read: what ``predict`` itself reads

    def predict(self, request: Any, state: Any = None) -> Steps:
        """See ``contract.Predictor``."""

    def fit(self, request: Any) -> Steps:
        """Steps whose reply is the ``Context`` of the request's training set."""

    def options(self, given: Mapping[str, float | str]) -> Mapping[str, float | str]:
        """A request's options in full: whatever says the same fit becomes the same options.

        Raises:
            InvalidInput: if they are not acceptable.
        """

    def lengths(self, request: Any) -> Mapping[str, int]:
        """Lengths of the letters of that context's states, known without computing them.

        A state holds what graphs read and ``keeps``; "B" counts the members of all states together.
        """

    def notes(self, context: Context) -> tuple[str, ...]:
        """Choices that ``fit`` made for the caller, such as columns that are not used."""


class Recurrent(Protocol):
    """Of a model whose state is replaced by every call; it is that of one sequence.

    A model of sequences has the graphs "step", of one observation, and "scan", of T of them, which
    is as many steps; ``predict`` yields one call. Its letters are "B" and, in "scan", "T".
    """

    version: int  # of what happens around the graphs: states of other versions are not read

    def start(self) -> Arrays:
        """The state before the first observation, each array [1, ...]."""

    def options(self, given: Mapping[str, float | str]) -> Mapping[str, float | str]:
        """A sequence's options in full, defaults included, as its requests are to carry them.

        Raises:
            InvalidInput: if they are not acceptable.
        """


class Generative(Protocol):
    """Of a model whose state grows with every token.

    One without graphs yields a ``generation.Continuation`` and returns the reply that it is sent;
    the engine runs the layers of its module, which is ``generation.Layered``.
    """

    def start(self) -> Arrays:
        """The state before the first token, each array [1, ...]; of one without graphs, none."""

    def tokens(self, text: str) -> tuple[int, ...]:
        """The tokens of a prompt.

        Raises:
            InvalidInput: if it has none, cannot be told in them, or the model has no tokenizer.
        """

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens say together, special ones left out.

        Raises:
            InvalidInput: if one is none of the model's, or it has no tokenizer.
        """

    def piece(self, token: int) -> str | None:
        """A token's own text; None if it has none, since it is only part of a character."""
