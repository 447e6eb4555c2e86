"""Input tensors of a request, raw or typed, to arrays; nothing is allocated before it is checked.

Raw contents are not copied: arrays of fixed-size elements are read-only views of the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, TypeAlias

import numpy as np

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.contract import Array
from foretoken.proto import grpc_service as oip
from foretoken.server.doors.oip.datatypes import DATATYPES, Datatype
from foretoken.server.doors.tasks.base import Limits, Tensor

__all__ = ["Inputs", "decoded", "expected"]

Message: TypeAlias = oip.ModelInferRequest.InferInputTensor
# What a task accepts, by name: ranks, datatypes that are named, and whether it may be left out.
Inputs = Mapping[str, Tensor]


def expected(tensors: tuple[Tensor, ...]) -> Inputs:
    """By name."""
    return {tensor.name: tensor for tensor in tensors}


def decoded(request: oip.ModelInferRequest, inputs: Inputs, limits: Limits) -> dict[str, Array]:
    """The tensors of a request by name, all of them of accepted datatypes and ranks.

    Args:
        request: as received.
        inputs: what is accepted.
        limits: numbers take at least a byte each, so a tensor has no more than a message has bytes;
            strings become objects of Python's each, so there are no more than tokens.

    Raises:
        InvalidInput: naming the tensor, what is wrong with it, and what would be accepted.
        Unsupported: if a tensor lies in shared memory.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInput(
            f"raw_input_contents has {len(raw)} entries for {len(request.inputs)} inputs; give one "
            "for each, in order, or none at all"
        )
    found: dict[str, Array] = {}
    for i, message in enumerate(request.inputs):
        name, given = message.name, message.datatype
        tensor = inputs.get(name)
        if tensor is None or name in found or given not in tensor.datatypes:
            _refuse(message, inputs, found)
        datatype = DATATYPES[given]
        most = limits.reply_bytes if datatype.dtype is not None else limits.tokens
        shape = _shape(message, tensor.ranks)
        count = _elements(name, shape, most)
        if message.parameters:
            _refuse_parameters(message)
        if not raw:
            found[name] = _typed(message, datatype, count).reshape(shape)
            continue
        if message.HasField("contents"):
            raise InvalidInput(
                f"tensor {name!r} has `contents` beside raw_input_contents; give one or the other"
            )
        found[name] = _raw(name, raw[i], datatype, count).reshape(shape)
    if len(found) < len(inputs):
        _expect_required(inputs, found)
    return found


def _refuse(message: Message, inputs: Inputs, found: Mapping[str, Array]) -> NoReturn:
    name = message.name
    if name not in inputs:
        there = ", ".join(inputs) or "none"
        raise InvalidInput(f"no input tensor {name!r}; this model takes {there}")
    if name in found:
        raise InvalidInput(f"tensor {name!r} is given twice")
    raise InvalidInput(
        f"tensor {name!r} has the datatype {message.datatype!r}; accepted are "
        + ", ".join(inputs[name].datatypes)
    )


def _refuse_parameters(message: Message) -> NoReturn:
    given = ", ".join(sorted(message.parameters))
    if any(key.startswith("shared_memory_") for key in message.parameters):
        raise Unsupported(
            f"tensor {message.name!r} lies in shared memory, which this server does not read; send "
            "its bytes in raw_input_contents"
        )
    raise InvalidInput(f"tensor {message.name!r} has parameters ({given}); tensors take none")


def _shape(message: Message, ranks: tuple[int, ...]) -> tuple[int, ...]:
    """As given, which may be longer than anything that is acceptable."""
    given = message.shape
    if len(given) not in ranks:
        accepted = " or ".join(map(str, ranks))
        shown = list(given) if len(given) <= 8 else f"of {len(given)} axes"
        raise InvalidInput(
            f"tensor {message.name!r} has the shape {shown}; it must have {accepted} axes"
        )
    return tuple(given)


def _elements(name: str, shape: tuple[int, ...], most: int) -> int:
    """How many elements ``shape`` has; integers of Python's do not overflow."""
    count = 1
    for length in shape:
        if length < 0:
            raise InvalidInput(f"tensor {name!r} has the shape {list(shape)}; no axis is negative")
        count *= length
    if max(shape, default=0) > most or count > most:  # an axis of 0 hides how long others are
        raise InvalidInput(
            f"tensor {name!r} has the shape {list(shape)}, {count} elements; this server takes at "
            f"most {most} of its datatype in one"
        )
    return count


def _expect_required(inputs: Inputs, found: Mapping[str, Array]) -> None:
    missing = [n for n, tensor in inputs.items() if not tensor.optional and n not in found]
    if missing:
        raise InvalidInput(
            f"input tensors are missing: {', '.join(missing)}; given are "
            f"{', '.join(found) or 'none'}"
        )


def _raw(name: str, data: bytes, datatype: Datatype, count: int) -> Array:
    dtype = datatype.dtype
    if dtype is None:
        return _strings(name, data, count)
    if len(data) != count * dtype.itemsize:
        raise InvalidInput(
            f"tensor {name!r} has {len(data)} bytes; {count} elements of {datatype.name} are "
            f"{count * dtype.itemsize}"
        )
    if datatype.name == "BOOL":
        truth: Array = np.frombuffer(data, np.uint8) != 0  # NumPy's bools are 0 or 1, no other byte
        return truth
    array = np.frombuffer(data, dtype)
    if datatype.name == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _strings(name: str, data: bytes, count: int) -> Array:
    """Elements that each follow their length, 4 bytes little-endian."""
    if 4 * count > len(data):
        raise InvalidInput(
            f"tensor {name!r} has {len(data)} bytes; {count} elements of BYTES, each behind 4 "
            f"bytes of its length, are at least {4 * count}"
        )
    array = np.empty(count, object)
    at = 0
    for i in range(count):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        if at > len(data) or start > len(data):
            raise InvalidInput(
                f"tensor {name!r}: element {i} of BYTES ends beyond the {len(data)} bytes given"
            )
        array[i] = data[start:at]
    if at != len(data):
        raise InvalidInput(
            f"tensor {name!r} has {len(data)} bytes; its {count} elements of BYTES end after {at}"
        )
    return array


def _typed(message: Message, datatype: Datatype, count: int) -> Array:
    name = message.name
    if datatype.contents is None:
        raise InvalidInput(
            f"tensor {name!r}: {datatype.name} has no typed contents; send raw_input_contents"
        )
    given = [field.name for field, _ in message.contents.ListFields()]
    if given not in ([], [datatype.contents]):
        raise InvalidInput(
            f"tensor {name!r} has {', '.join(given)}; elements of {datatype.name} stand in "
            f"{datatype.contents} alone"
        )
    values = getattr(message.contents, datatype.contents)
    if len(values) != count:
        raise InvalidInput(
            f"tensor {name!r} has {len(values)} elements in {datatype.contents}; its shape "
            f"{list(message.shape)} has {count}"
        )
    if datatype.dtype is None:
        array = np.empty(count, object)
        array[:] = values
        return array
    if datatype.dtype.itemsize < 4 and datatype.dtype.kind in "iu":
        return _narrowed(name, np.array(values, np.int64), datatype)
    return np.array(values, datatype.dtype)


def _narrowed(name: str, wide: Array, datatype: Datatype) -> Array:
    assert datatype.dtype is not None
    narrow = wide.astype(datatype.dtype)
    beyond = np.flatnonzero(narrow != wide)
    if beyond.size:
        i = int(beyond[0])
        raise InvalidInput(f"tensor {name!r}: element {i}, {wide[i]}, is no {datatype.name}")
    return narrow
