"""A context as a safetensors file that workers map, and back; neither way copies its arrays.

Arrays are called ``a/NAME``, those of the state of group ``i`` of members ``s{i}/NAME``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from io import RawIOBase
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from foretoken.errors import DataLoss, InternalError
from foretoken.models.contract import Array, Arrays, Context, Graph, Tensor
from foretoken.models.weights import mapped, metadata
from foretoken.server.engine.batches import BITS, Sizes

__all__ = ["announced", "members", "nbytes", "opened", "stream"]

_DTYPES = {
    "bool": "BOOL",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
}
PREDICTOR = "predictor"  # in a file's metadata
_ALIGN = 64  # bytes at which the first tensor begins: a cache line


def stream(name: str, predictor: int, context: Context) -> IO[bytes]:
    """The bytes of a context called ``name``, to be read once; they are made as they are read.

    The name stands in them, so that equal states of two contexts are different files, of which each
    can be removed without the other.

    Args:
        name: of the context.
        predictor: version of the logic that made it; see ``InContext``.
        context: what it made.

    Raises:
        InternalError: if an array is not of numbers.
    """
    about = {"context": name, PREDICTOR: str(predictor)}
    return cast("IO[bytes]", _Pieces(_pieces(about, context)))


def opened(path: Path, predictor: int) -> Context:
    """The context that ``stream`` made a file of, its arrays lying in the file.

    Raises:
        DataLoss: if it cannot be read, or another version of the logic made it: what is in it may
            mean something else by now.
    """
    about = metadata(path)
    if about.get(PREDICTOR) != str(predictor):
        raise DataLoss(
            f"{path} was made by version {about.get(PREDICTOR, 'unknown')} of the predictor; it is "
            f"{predictor} now"
        )
    arrays: dict[str, Array] = {}
    states: dict[int, dict[str, Array]] = {}
    for name, stored in mapped(path).items():
        group, _, own = name.partition("/")
        if group == "a":
            arrays[own] = stored.array
        elif group[:1] == "s" and group[1:].isdigit():
            states.setdefault(int(group[1:]), {})[own] = stored.array
        else:
            raise DataLoss(f"{path} holds {name!r}, which belongs to no context")
    return Context(arrays, tuple(states[i] for i in sorted(states)))


def announced(graphs: Iterable[Graph], lengths: Sizes, keeps: Iterable[Tensor] = ()) -> int:
    """Bytes that the states of a context will have.

    Args:
        graphs: of the version, as its runtime runs them: what they read is what a state holds.
        lengths: of the letters; see ``InContext.lengths``.
        keeps: what the predictor itself reads of a state; see ``InContext.keeps``.
    """
    read = {tensor.name: tensor for graph in graphs for tensor in graph.reads}
    read |= {tensor.name: tensor for tensor in keeps}
    return sum(
        np.dtype(BITS.get(tensor.dtype, tensor.dtype)).itemsize
        * math.prod(lengths[dim] if isinstance(dim, str) else dim for dim in tensor.dims)
        for tensor in read.values()
    )


def nbytes(context: Context) -> int:
    """Bytes of the states."""
    return sum(a.nbytes for state in context.states for a in cast("Arrays", state).values())


def members(context: Context) -> int:
    """Of the ensemble: a state's arrays have a group of them on axis 0."""
    return sum(len(next(iter(cast("Arrays", state).values()), ())) for state in context.states)


def _named(context: Context) -> Mapping[str, Array]:
    named = {f"a/{name}": np.asarray(array) for name, array in context.arrays.items()}
    for i, state in enumerate(context.states):
        named |= {f"s{i}/{n}": np.asarray(a) for n, a in cast("Arrays", state).items()}
    for name, array in named.items():
        if array.dtype.name not in _DTYPES:
            raise InternalError(f"{name} of a context is {array.dtype}; it must be of numbers")
    # The widest first, so that each lies where its elements may begin.
    return dict(sorted(named.items(), key=lambda item: (-item[1].itemsize, item[0])))


def _pieces(about: Mapping[str, str], context: Context) -> Iterator[memoryview | bytes]:
    named = _named(context)
    header: dict[str, Any] = {"__metadata__": about}
    end = 0
    for name, array in named.items():
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % _ALIGN)
    yield len(text).to_bytes(8, "little") + text
    for array in named.values():
        if array.size:
            flat = np.ascontiguousarray(array).reshape(-1)
            yield flat.view(np.uint8).data


class _Pieces(RawIOBase):
    """Pieces as a stream that is read from the beginning to the end."""

    def __init__(self, pieces: Iterator[memoryview | bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, without end b""."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        count = len(self._rest) if size < 0 else size
        part, self._rest = self._rest[:count], self._rest[count:]
        return bytes(part)
