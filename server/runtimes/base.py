"""What a runtime is: it loads an artefact's graphs and runs them."""

from __future__ import annotations

from typing import Protocol

from foretoken.models.artefact import Artefact
from foretoken.models.contract import Array, Arrays, Family


class Executable(Protocol):
    """A loaded version; ``run`` may be called from several threads at once."""

    nbytes: int  # memory held by its weights

    def run(self, graph: str, inputs: Arrays) -> dict[str, Array]:
        """Run ``graph`` on inputs and reads by name; gives outputs and writes by name."""

    def close(self) -> None:
        """Release what it holds; ``run`` may not follow."""


class Runtime(Protocol):
    """A way to run graphs, named as in serving options: "onnx", "torch"."""

    name: str

    def load(self, artefact: Artefact, family: Family, threads: int) -> Executable:
        """Load all graphs with ``threads`` cores for each call.

        Raises:
            Unsupported: if this runtime cannot run the artefact, for lack of a graph or precision.
            DataLoss: if its files cannot be read.
        """
