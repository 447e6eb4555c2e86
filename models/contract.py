"""What a family of models is: one page that everything above the models floor relies on.

A family describes *graphs*, pure tensor functions, and a *predictor*, NumPy logic that yields their
``Call``s and is sent outputs, alone or batched. Kinds differ in the *state*: what a model has seen.

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

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

    from foretoken.models.recipes import Importer, Recipe
    from foretoken.models.tasks import Task

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Config = Mapping[str, Any]  # what JSON can say
State = object  # opaque to a family: arrays, a slot or K/V blocks, as its driver likes


class Kind(StrEnum):
    """How long a state lives."""

    STATELESS = "stateless"
    IN_CONTEXT = "in_context"
    RECURRENT = "recurrent"
    GENERATIVE = "generative"


@dataclass(frozen=True)
class Tensor:
    """Axis 0 is the batch "B"; batches pad other letters with ``pad``, which changes no row."""

    name: str
    dtype: str
    dims: tuple[int | str, ...]
    pad: float = 0


@dataclass(frozen=True)
class Graph:
    """A pure ``(*inputs, *reads) -> (*outputs, *writes)``: the module's method of that name."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    reads: tuple[Tensor, ...] = ()
    writes: tuple[Tensor, ...] = ()
    tolerance: float = 1e-4  # of max |exported - eager| / max(1, max |eager|)


@dataclass(frozen=True)
class Call:
    """Run ``graph`` on ``inputs`` (rows on axis 0); its reads and writes are those of ``state``."""

    graph: str
    inputs: Arrays
    state: State | None = None


@dataclass(frozen=True)
class Emit:
    """A partial reply (a token, a forecast), sent on before the generator returns."""

    reply: Any


@dataclass(frozen=True)
class Context:
    """A fitted training set: what ``predict`` needs on the host, and a state per member."""

    arrays: Arrays
    states: tuple[State, ...]


# Yields calls that may run together, is sent their outputs (and unkept writes), returns the reply.
Steps = Generator[Sequence[Call] | Emit, Sequence[Arrays], Any]


class Predictor(Protocol):
    """Request logic of one loaded version: no torch, no I/O, shared between threads.

    In-context adds ``fit(request) -> Steps`` of a ``Context``; the next two ``start() -> Arrays``.
    """

    def predict(self, request: Any, state: Any = None) -> Steps: ...  # state: Context or State


class Family(Protocol):
    """``FAMILY`` of a folder under ``models/``; importing it must not import torch."""

    name: str
    task: Task
    kind: Kind
    summary: str  # one line, for people
    source: str  # authors, year, title
    small: Config  # sizes small enough to test with random weights
    recipe: Recipe | None  # how it is trained here, if it is
    importers: Mapping[str, Importer]  # foreign formats by name

    def graphs(self, config: Config) -> tuple[Graph, ...]: ...
    def module(self, config: Config) -> nn.Module: ...
    def predictor(self, config: Config, weights: Arrays) -> Predictor: ...
    def examples(self, config: Config, graph: str) -> Iterator[Arrays]: ...  # inputs and reads
