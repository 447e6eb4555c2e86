"""PyTorch eager: on the GPU where there is one, else on the CPU; also the reference for exports."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn

from foretoken.errors import InternalError, InvalidInput, Overloaded, Unsupported
from foretoken.exporters.modules import load_module
from foretoken.models.artefact import Artefact
from foretoken.models.contract import Array, Arrays, Family, Graph
from foretoken.models.contract import Tensor as Declared
from foretoken.server.runtimes.base import graphs_of

__all__ = ["TorchRuntime"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_LARGE = 1 << 16  # bytes from which on a copy costs more than it takes to avoid it


class TorchRuntime:
    """Runs a version's module itself, in float32 or bfloat16.

    In bfloat16, matrices are stored and multiplied so, and contexts kept (see ``graphs_of``);
    inputs, outputs, other states and whatever else autocast leaves alone stay in float32.

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
        graphs = {graph.name: graph for graph in graphs_of(artefact, family)}
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
        tensor = torch.from_numpy(_writable(np.ascontiguousarray(array)))
        if declared.dtype == "bfloat16" and array.dtype == np.uint16:
            tensor = tensor.view(torch.bfloat16)
        return tensor.to(self._device)

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
    tensor = output.to("cpu", getattr(torch, declared.dtype))
    if declared.dtype == "bfloat16":
        tensor = tensor.contiguous().view(torch.uint16)
    array: Array = tensor.numpy()
    return array


def _writable(array: Array) -> Array:
    """The same numbers where torch, which knows no other tensors, believes that it may write.

    Graphs write nowhere. A context that is mapped from a file is megabytes, and copied for no call.
    """
    if array.flags.writeable:
        return array
    if array.nbytes < _LARGE:
        return array.copy()
    memory = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    memory.owner = array  # type: ignore[attr-defined]  # lives as long as what looks at it
    same: Array = np.frombuffer(memoryview(memory), array.dtype)
    return same.reshape(array.shape)
