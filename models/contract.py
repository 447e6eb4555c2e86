"""What a family of models is: one page that everything above the models floor relies on.

A family describes *graphs*, pure tensor functions, and a *predictor*, NumPy logic that yields their
``Call``s and is sent outputs, alone or batched. What a model has seen is its *state*; ``kinds``
says how long it lives, and what predictors of each kind offer. What NumPy and SciPy do best needs
no graph: the predictor then works in ``Host`` alone, and its module has no parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from foretoken.models.generation import Continuation, Together
from foretoken.models.kinds import Kind as Kind  # noqa: PLC0414  (told on)

if TYPE_CHECKING:
    from torch import nn

    from foretoken.models.recipes import Importer, Recipe
    from foretoken.models.tasks import Task

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Config = Mapping[str, Any]  # what JSON can say
State = object  # opaque to a family: arrays, a slot or K/V blocks, as its driver likes


@dataclass(frozen=True)
class Tensor:
    """Axis 0 is the batch "B"; batches pad other letters with ``pad``, which changes no row.

    NumPy has no bfloat16: arrays of that dtype are its bits in uint16.
    """

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
    rows: str | None = None  # a letter of all inputs and outputs along which nothing is mixed


@dataclass(frozen=True)
class Call:
    """Run ``graph`` on ``inputs`` (rows on axis 0); its reads and writes are those of ``state``."""

    graph: str
    inputs: Arrays
    state: State | None = None


@dataclass(frozen=True)
class Host:
    """NumPy work too long for an event loop; what it returns is sent back."""

    work: Callable[[], Any]


@dataclass(frozen=True)
class Emit:
    """A partial reply (a token, a forecast), sent on before the generator returns."""

    reply: Any


@dataclass(frozen=True)
class Context:
    """A fitted training set: numbers that ``predict`` needs on the host, and states of members."""

    arrays: Arrays
    states: tuple[State, ...]


# Yields calls that may run together, is sent their outputs (and unkept writes); returns the reply.
Steps = Generator[Sequence[Call] | Host | Emit | Continuation | Together, Any, Any]


class Predictor(Protocol):
    """A version's request logic: no torch, no I/O, shared by threads; ``kinds`` says what else."""

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
