"""What a generative family says of itself, so that requests may choose their depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from foretoken.models.contract import Array
from foretoken.models.generation import Continuation

if TYPE_CHECKING:
    from foretoken.models.depth.menus import Menu
    from foretoken.models.tasks import GenerationRequest, ScoreRequest

__all__ = ["Adaptive"]


@runtime_checkable
class Adaptive(Protocol):
    """A version that runs chains of layers; ``policies.answered`` does the rest."""

    @property
    def layers(self) -> int:
        """Of the model."""

    @property
    def longest(self) -> int:
        """Layers of a chain, at most."""

    @property
    def menu(self) -> Menu | None:
        """Chains that were chosen for the version, if any were."""

    def continuation(self, request: GenerationRequest) -> Continuation:
        """What a request asks for by its own chain, or the whole one; its reader is its own.

        Raises:
            InvalidInput: the request is not acceptable to the model.
        """

    def scoring(self, request: ScoreRequest) -> Continuation:
        """What it takes to score tokens; errors as for ``continuation``."""

    def written(self, prompt: str | Array, answer: str) -> tuple[int, ...]:
        """The tokens of an answer behind a prompt, without an end; errors likewise."""
