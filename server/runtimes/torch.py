"""PyTorch eager: on the GPU where there is one, else on the CPU; also the reference for exports."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from foretoken.errors import DataLoss, InternalError, InvalidInput, Overloaded, Unsupported
from foretoken.exporters.modules import load_module
from foretoken.models.artefact import Artefact
from foretoken.models.contract import Array, Arrays, Family, Graph
from foretoken.models.contract import Tensor as Declared
from foretoken.models.generation import Layered
from foretoken.server.runtimes.base import graphs_of, runs_layers
from foretoken.server.runtimes.blocks import in_sessions
from foretoken.server.runtimes.packed import pack

__all__ = ["TorchRuntime", "multiplies_bfloat16"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_LAYERED = {**_DTYPES, "float16": torch.float16}
_LARGE = 1 << 16  # bytes from which on a copy costs more than it takes to avoid it


class TorchRuntime:
    """Runs a version's module itself, in float32 or bfloat16.

    In bfloat16, matrices are stored and multiplied so, and contexts kept (see ``graphs_of``);
    inputs, outputs, other states and whatever else autocast leaves alone stay in float32.

    Modules whose layers run one by one may be in float16, too, or have weights in int8: these are
    widened when they are loaded, to bfloat16 where the device multiplies in it, else to float32.

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
        layered = runs_layers(artefact, family)
        dtype = self._dtype(artefact.precision, family.name, layered=layered)
        module = load_module(artefact, family)
        for part in module.modules():
            if isinstance(part, (nn.Linear, nn.Embedding)):
                part.to(dtype)
        module = module.to(self._device)
        packed = 0
        if self._device.type == "cpu" and dtype == torch.bfloat16:
            packed = pack(module)
        elif self._device.type == "cpu" and dtype == torch.float32 and layered:
            packed = in_sessions(module, threads)
        graphs = {graph.name: graph for graph in graphs_of(artefact, family)}
        return TorchExecutable(module, graphs, self._device, dtype, threads, packed)

    def _dtype(self, precision: str, family: str, *, layered: bool) -> torch.dtype:
        known = _LAYERED if layered else _DTYPES
        if layered and precision == "int8":
            return known["bfloat16" if multiplies_bfloat16(self._device) else "float32"]
        if precision not in known:
            accepted = ", ".join([*known, "int8"] if layered else known)
            raise Unsupported(
                f"the torch runtime computes versions of {family} in {accepted}, not {precision}"
                + ("" if layered else "; serve this version with the onnx runtime")
            )
        return known[precision]


class TorchExecutable:
    """A module on its device.

    Args:
        module: in evaluation mode; ``graphs`` are methods of it.
        graphs: by name.
        device: where the module is.
        dtype: of matrix products.
        threads: of one call, on a CPU.
        packed: bytes of the module beside parameters and buffers.
    """

    def __init__(
        self,
        module: nn.Module,
        graphs: Mapping[str, Graph],
        device: torch.device,
        dtype: torch.dtype,
        threads: int,
        packed: int = 0,
    ) -> None:
        tensors = (*module.parameters(), *module.buffers())
        self.nbytes = packed + sum(t.nbytes for t in tensors)
        self._module: nn.Module | None = module
        self._graphs = graphs
        self.device = device
        self.dtype = dtype
        self._threads = threads

    @property
    def layered(self) -> Layered:
        """The module, whose layers are run one by one, while ``computing``.

        Raises:
            Unsupported: if it has been closed.
        """
        if self._module is None:
            raise Unsupported("the version has been closed")
        return cast("Layered", self._module)

    def run(self, graph: str, inputs: Arrays) -> dict[str, Array]:
        """See ``Executable.run``.

        Raises:
            InvalidInput: if an input is missing.
            Unsupported: if there is no such graph, or it has been closed.
            Overloaded: if the device is out of memory.
        """
        declared = self.declared(graph)
        given = [self.tensor(tensor, inputs) for tensor in (*declared.inputs, *declared.reads)]
        tensors = (*declared.outputs, *declared.writes)
        with self.computing(graph):
            outputs = self.call(graph, given)
            return {t.name: array(t, output) for t, output in zip(tensors, outputs, strict=True)}

    def rows(self, start: Arrays, count: int) -> TorchRows:
        """States on this executable's device; see ``KeepsRows``."""
        return TorchRows(self, start, count)

    def declared(self, graph: str) -> Graph:
        """What a graph takes and gives.

        Raises:
            Unsupported: if there is no such graph, or it has been closed.
        """
        if self._module is None or graph not in self._graphs:
            raise Unsupported(f"no graph {graph!r}; loaded are {', '.join(self._graphs)}")
        return self._graphs[graph]

    def has(self, method: str) -> bool:
        """Whether the module has a method of that name."""
        return hasattr(self._module, method)

    def call(self, method: str, given: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """What a method of the module gives, while ``computing``."""
        made = getattr(self._module, method)(*given)
        return (made,) if isinstance(made, torch.Tensor) else made

    @contextlib.contextmanager
    def computing(self, graph: str) -> Iterator[None]:
        """Compute as this executable does; whatever goes wrong is an error of our tree."""
        try:
            with torch.inference_mode(), self._autocast(), _threads(self._threads):
                yield
        except DataLoss:
            raise
        except torch.OutOfMemoryError as e:
            raise Overloaded(f"graph {graph!r} needs more memory than the device has left") from e
        except Exception as e:  # whatever a module may raise
            raise InternalError(f"graph {graph!r} failed in torch: {e}") from e

    def close(self) -> None:
        """Release the module."""
        self._module = None

    def tensor(self, declared: Declared, inputs: Arrays) -> torch.Tensor:
        """An input on the device.

        Raises:
            InvalidInput: if it is missing.
        """
        array = inputs.get(declared.name)
        if array is None:
            raise InvalidInput(f"input {declared.name!r} is missing; given are {sorted(inputs)}")
        tensor = torch.from_numpy(_writable(np.ascontiguousarray(array)))
        if declared.dtype == "bfloat16" and array.dtype == np.uint16:
            tensor = tensor.view(torch.bfloat16)
        return tensor.to(self.device)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        # A layer's tokens are in this dtype all the way: there is nothing to be cast.
        if self.dtype == torch.float32 or not self._graphs:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype, cache_enabled=False)


class TorchRows:
    """See ``Rows``: tensors on an executable's device.

    A module may have a method ``step_`` beside "step", which takes the whole pools and [B] int64
    slots behind the inputs, and changes the pools in place: then nothing is gathered.

    Args:
        executable: that runs.
        start: a state, each array [1, ...].
        count: N.
    """

    def __init__(self, executable: TorchExecutable, start: Arrays, count: int) -> None:
        self._executable = executable
        like = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in start.items()}
        self._pools = {
            name: torch.empty((count, *t.shape[1:]), dtype=t.dtype, device=executable.device)
            for name, t in like.items()
        }

    def read(self, slot: int) -> dict[str, Array]:
        """See ``Rows.read``."""
        return {name: pool[slot].cpu().numpy().copy() for name, pool in self._pools.items()}

    def write(self, slot: int, state: Arrays) -> None:
        """See ``Rows.write``."""
        for name, pool in self._pools.items():
            pool[slot] = torch.from_numpy(np.array(state[name])).to(pool.device)

    def run(self, graph: Graph, inputs: Arrays, slots: Sequence[int]) -> Mapping[str, Array]:
        """See ``Rows.run``."""
        runs = self._executable
        declared = runs.declared(graph.name)
        given = [runs.tensor(tensor, inputs) for tensor in declared.inputs]
        with runs.computing(graph.name):
            rows = torch.tensor(slots, device=runs.device)
            pools = [self._pools[tensor.name] for tensor in declared.reads]
            if runs.has(f"{graph.name}_"):
                made = self._in_place(f"{graph.name}_", [*given, *pools, rows])
            else:
                states = [pool.index_select(0, rows) for pool in pools]
                made = runs.call(graph.name, [*given, *states])
                after = made[len(declared.outputs) :]
                for tensor, new in zip(declared.writes, after, strict=True):
                    pool = self._pools[tensor.name]
                    pool.index_copy_(0, rows, new.to(pool.dtype))
            return {t.name: array(t, out) for t, out in zip(declared.outputs, made, strict=False)}

    def _in_place(self, method: str, given: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        try:
            return self._executable.call(method, given)
        except Exception as e:  # layers before the one that failed have changed their part
            raise DataLoss(f"the rows of the batch are half changed: {method} failed: {e}") from e


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16: a CPU by oneDNN, a GPU by itself."""
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    able: bool = torch.cuda.is_bf16_supported(including_emulation=False)
    return able


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


def array(declared: Declared, output: torch.Tensor) -> Array:
    """An output in memory."""
    tensor = output.to("cpu", getattr(torch, declared.dtype))
    if declared.dtype == "bfloat16":
        tensor = tensor.contiguous().view(torch.uint16)
    made: Array = tensor.numpy()
    return made


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
