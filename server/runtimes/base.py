"""What a runtime is: it loads an artefact's graphs and runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from foretoken.models.artefact import Artefact
from foretoken.models.contract import Array, Arrays, Family, Graph, Kind, Tensor

__all__ = [
    "Executable",
    "KeepsRows",
    "Rows",
    "Runtime",
    "fitting",
    "graphs_of",
    "runs_layers",
]


class Executable(Protocol):
    """A loaded version; ``run`` may be called from several threads at once."""

    nbytes: int  # memory held by its weights

    def run(self, graph: str, inputs: Arrays) -> dict[str, Array]:
        """Run ``graph`` on inputs and reads by name; gives outputs and writes by name."""

    def close(self) -> None:
        """Release what it holds; ``run`` may not follow."""


class Rows(Protocol):
    """States of many sequences, a row each, on which graphs of a loaded version run.

    Different rows may be used from different threads at once.
    """

    def read(self, slot: int) -> dict[str, Array]:
        """A copy of a state, each array [...]."""

    def write(self, slot: int, state: Arrays) -> None:
        """Replace a state, each array [...]."""

    def run(self, graph: Graph, inputs: Arrays, slots: Sequence[int]) -> Mapping[str, Array]:
        """Run ``graph`` on some rows and replace them by what it writes.

        Args:
            graph: that reads and writes these states.
            inputs: of it, rows in the order of ``slots``.
            slots: [B]; of what is there twice, either result may be kept.

        Returns:
            The graph's outputs; the states stay as they were if it fails.

        Raises:
            DataLoss: if it failed and they did not.
            And what ``Executable.run`` raises.
        """


@runtime_checkable
class KeepsRows(Protocol):
    """An executable that keeps states where it computes, such as on a GPU."""

    def rows(self, start: Arrays, count: int) -> Rows:
        """``count`` rows like those of ``start``, each array [1, ...]."""


class Runtime(Protocol):
    """A way to run graphs, named as in serving options: "onnx", "torch"."""

    name: str

    def load(self, artefact: Artefact, family: Family, threads: int) -> Executable:
        """Load all graphs with ``threads`` cores for each call.

        Raises:
            Unsupported: if this runtime cannot run the artefact, for lack of a graph or precision.
            DataLoss: if its files cannot be read.
        """


def runs_layers(artefact: Artefact, family: Family) -> bool:
    """Whether layers take the place of graphs, so that the module itself is run, by torch."""
    return family.kind is Kind.GENERATIVE and not family.graphs(artefact.config)


def graphs_of(artefact: Artefact, family: Family) -> tuple[Graph, ...]:
    """The family's graphs, with the dtypes in which the artefact keeps contexts.

    Keys and values that are made in bfloat16 stay so: half the bytes, and nothing to convert. A
    state that is replaced by every call adds its rounding up, and stays in float32.
    """
    graphs = family.graphs(artefact.config)
    if artefact.precision != "bfloat16" or family.kind is not Kind.IN_CONTEXT:
        return graphs
    return tuple(
        replace(graph, reads=_halved(graph.reads), writes=_halved(graph.writes)) for graph in graphs
    )


def _halved(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(replace(t, dtype="bfloat16") if t.dtype == "float32" else t for t in tensors)


def fitting(graph: Graph, arrays: Arrays) -> dict[str, Array]:
    """``arrays`` with those in float32 as the bfloat16 that ``graph`` declares instead."""
    declared = {tensor.name: tensor.dtype for tensor in (*graph.inputs, *graph.reads)}
    return {
        name: _bits(array) if declared.get(name) == "bfloat16" else array
        for name, array in arrays.items()
    }


def _bits(array: Array) -> Array:
    """Finite float32 to bfloat16, rounded to nearest even, as its bits in uint16."""
    wide = np.ascontiguousarray(array, np.float32).view(np.uint32)
    bits: Array = ((wide + 0x7FFF + (wide >> 16 & 1)) >> 16).astype(np.uint16)
    return bits
