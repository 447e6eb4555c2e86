"""What is asked of a sequence, and what it answers; doors translate into it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foretoken.server.sessions.session import SessionOptions

if TYPE_CHECKING:
    from foretoken.models.contract import Array
    from foretoken.models.tasks import SequenceReply
    from foretoken.records import Version

__all__ = ["Asked", "Stepped", "key_of"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a sequence.

    Args:
        key: ``key_of`` the sequence.
        model: as its requests name it.
        id: that the caller has given it.
        values: makes the observations, float64 [T, D]; raises InvalidInput.
        start: begin it anew.
        end: nothing comes after this request.
        step: how many observations must have come before; None: not said.
        options: of a start.
        packed: makes what another worker can be asked by; None if another worker asks.
    """

    key: str
    model: str
    id: int | str
    values: Callable[[], Array]
    start: bool = False
    end: bool = False
    step: int | None = None
    options: SessionOptions = field(default_factory=SessionOptions)
    packed: Callable[[], bytes] | None = None

    @property
    def plain(self) -> bool:
        """Whether nothing is asked but to go on."""
        return not (self.start or self.end) and self.step is None

    def __str__(self) -> str:
        return f"sequence {self.id!r} of model {self.model!r}"


@dataclass(frozen=True, slots=True)
class Stepped:
    """The answer.

    Args:
        reply: of the model.
        version: that answered.
        seconds: that it took.
        step: observations of the sequence so far.
        durable_step: of those, the ones that are safe; None for sequences that are not durable.
    """

    reply: SequenceReply
    version: Version
    seconds: float
    step: int
    durable_step: int | None


def key_of(tenant: str | None, model: str, id: int | str) -> str:  # noqa: A002 - what it is
    """What all workers call a sequence: the same for the same three, and for no others."""
    return hashlib.sha256(repr((tenant, model, id)).encode()).hexdigest()
