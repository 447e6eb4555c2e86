"""What a session is: a loaded version, a state somewhere, and how far it has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from foretoken.errors import ForetokenError
    from foretoken.server.registry.loaded import Loaded
    from foretoken.server.registry.records import Version
    from foretoken.server.sessions.saved import Saved
    from foretoken.server.sessions.work import Visit, Work

__all__ = ["Continue", "Resume", "Session", "SessionOptions", "Want"]

Want = Literal["every", "last", "nothing"]  # which of a message's outputs are answered


@dataclass(frozen=True)
class Continue:
    """Resume the session of that id, which has lost its stream or its worker."""

    id: str


Resume = str | bytes | Continue  # digest of a kept snapshot, bytes of one, or a session


@dataclass(frozen=True)
class SessionOptions:
    """How a session is stepped and kept.

    Args:
        family: options of the model's family.
        deterministic: step at one fixed batch shape, so that outputs are the same bits whoever
            shares the batch.
        durable: write the state to the disk every so often; it then survives whatever happens.
        every: steps between two of those checkpoints; 0 takes the server's default.
    """

    family: Mapping[str, float | str] = field(default_factory=dict)
    deterministic: bool = False
    durable: bool = False
    every: int = 0


@dataclass(eq=False, slots=True)
class Session:
    """A session; ``Sessions`` owns it, others read.

    Args:
        id: opaque; whoever has it, and is of the same tenant, may go on with the session.
        loaded: the version that it is pinned to.
        tenant: whose it is.
        options: in full.
        step: observations so far.
        durable_step: of those, the ones that are safe on the disk.
    """

    id: str
    loaded: Loaded
    tenant: str | None
    options: SessionOptions
    step: int = 0
    durable_step: int = 0
    epoch: int = 0  # of its row in the store, if it has one; others' are newer once they claimed it
    slot: int = -1  # in its pool; -1: its state is in the store
    used: float = 0.0  # time.monotonic() of the last observation
    opening: bool = True  # nobody has it yet
    ended: bool = False
    lost: ForetokenError | None = None  # why it cannot go on here
    leaving: bool = False  # its state is on its way to the store, for others to go on with
    waiting: deque[Work | Visit] = field(default_factory=deque)
    candidate: Saved | None = None  # a state to be written once its step is delivered

    @property
    def version(self) -> Version:
        """That answers."""
        return self.loaded.version

    @property
    def width(self) -> int:
        """Numbers of an observation, D: as long as a row of the input ``x`` that all steps have."""
        graphs = self.loaded.family.graphs(self.loaded.config)
        (step,) = (graph for graph in graphs if graph.name == "step")
        dims = next(tensor.dims for tensor in step.inputs if tensor.name == "x")
        return 1 if len(dims) == 1 else int(dims[1])
