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

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from foretoken.models.contract import Arrays, Steps

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

    def predict(self, request: Any, state: Any = None) -> Steps:
        """See ``contract.Predictor``."""

    def fit(self, request: Any) -> Steps:
        """Steps whose reply is the ``Context`` of the request's training set."""

    def nbytes(self, request: Any) -> int:
        """Bytes that the states of that context will have, known without computing them."""


class Recurrent(Protocol):
    """Of a model whose state is replaced by every call; it is that of one sequence."""

    def start(self) -> Arrays:
        """The state before the first observation, each array [1, ...]."""


class Generative(Recurrent, Protocol):
    """Of a model whose state grows with every token."""
