"""PyTorch eager: on the GPU where there is one, else on the CPU; also the reference for exports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn

from foretoken.errors import InternalError, InvalidInput, Overloaded, Unsupported
from foretoken.exporters.modules import load_module
from foretoken.models.artefact import Artefact
from foretoken.models.contract import Array, Arrays, Family, Graph
from foretoken.models.contract import Tensor as Declared

__all__ = ["TorchRuntime"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class TorchRuntime:
    """Runs a version's module itself, in float32 or bfloat16.

    In bfloat16, matrices are stored and multiplied so; inputs, outputs, normalisations, softmax
    and whatever else autocast leaves alone stay in float32.

    Args:
        device: as torch names it; the default is "cuda" where there is one, else "cpu".
    """

    name = "torch"

    def __init__(self, device: str | None = None) -> None:
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def load(self, artefact: Artefact, family: Family, threads: int) -> TorchExecutable:
        """See ``Runtime.load``; on a GPU ``threads`` says nothing.

        Raises:
            Unsupported: for another precision.
            DataLoss, InvalidInput: as ``load_module``.
        """
        if artefact.precision not in _DTYPES:
            raise Unsupported(
                f"the torch runtime computes in {' or '.join(_DTYPES)}, not {artefact.precision}; "
                "serve this version with the onnx runtime"
            )
        module = load_module(artefact, family)
        dtype = _DTYPES[artefact.precision]
        for part in module.modules():
            if isinstance(part, (nn.Linear, nn.Embedding)):
                part.to(dtype)
        graphs = {graph.name: graph for graph in family.graphs(artefact.config)}
        return TorchExecutable(module.to(self._device), graphs, self._device, dtype, threads)


class TorchExecutable:
    """A module on its device.

    Args:
        module: in evaluation mode; ``graphs`` are methods of it.
        graphs: by name.
        device: where the module is.
        dtype: of matrix products.
        threads: of one call, on a CPU.
    """

    def __init__(
        self,
        module: nn.Module,
        graphs: Mapping[str, Graph],
        device: torch.device,
        dtype: torch.dtype,
        threads: int,
    ) -> None:
        self.nbytes = sum(t.nbytes for t in (*module.parameters(), *module.buffers()))
        self._module: nn.Module | None = module
        self._graphs = graphs
        self._device = device
        self._dtype = dtype
        self._threads = threads

    def run(self, graph: str, inputs: Arrays) -> dict[str, Array]:
        """See ``Executable.run``.

        Raises:
            InvalidInput: if an input is missing.
            Unsupported: if there is no such graph, or it has been closed.
            Overloaded: if the device is out of memory.
        """
        if self._module is None or graph not in self._graphs:
            raise Unsupported(f"no graph {graph!r}; loaded are {', '.join(self._graphs)}")
        declared = self._graphs[graph]
        given = [self._tensor(tensor, inputs) for tensor in (*declared.inputs, *declared.reads)]
        try:
            with torch.inference_mode(), self._autocast(), _threads(self._threads):
                made = getattr(self._module, graph)(*given)
            outputs = (made,) if isinstance(made, torch.Tensor) else made
            tensors = (*declared.outputs, *declared.writes)
            return {t.name: _array(t, output) for t, output in zip(tensors, outputs, strict=True)}
        except torch.OutOfMemoryError as e:
            raise Overloaded(f"graph {graph!r} needs more memory than the device has left") from e
        except Exception as e:  # whatever a module may raise
            raise InternalError(f"graph {graph!r} failed in torch: {e}") from e

    def close(self) -> None:
        """Release the module."""
        self._module = None

    def _tensor(self, declared: Declared, inputs: Arrays) -> torch.Tensor:
        array = inputs.get(declared.name)
        if array is None:
            raise InvalidInput(f"input {declared.name!r} is missing; given are {sorted(inputs)}")
        writable = array if array.flags.writeable else array.copy()
        return torch.from_numpy(np.ascontiguousarray(writable)).to(self._device)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self._dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, self._dtype, cache_enabled=False)


@contextlib.contextmanager
def _threads(wanted: int) -> Iterator[None]:
    """Compute with as many threads, and leave the caller's own setting as it was."""
    before = torch.get_num_threads()
    if before != wanted:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        if before != wanted:
            torch.set_num_threads(before)


def _array(declared: Declared, output: torch.Tensor) -> Array:
    array: Array = output.to("cpu", getattr(torch, declared.dtype)).numpy()
    return array
