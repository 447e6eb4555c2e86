"""The protocol's datatypes: their sizes, their fields of typed contents, and NumPy's names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretoken.errors import InternalError
from foretoken.models.contract import Array
from foretoken.proto import model_config as config

__all__ = ["DATATYPES", "Datatype", "encoded"]


@dataclass(frozen=True)
class Datatype:
    """A datatype.

    Args:
        name: in the protocol.
        dtype: of the bytes of an element, little-endian; None for BYTES, whose sizes differ.
        contents: field of ``InferTensorContents``; None where elements travel as raw bytes only.
        number: in a model's configuration.
    """

    name: str
    dtype: np.dtype[np.generic] | None
    contents: str | None
    number: config.DataType


def _fixed(name: str, dtype: str, contents: str | None, number: config.DataType) -> Datatype:
    return Datatype(name, np.dtype(dtype), contents, number)


DATATYPES = {
    each.name: each
    for each in (
        _fixed("BOOL", "?", "bool_contents", config.TYPE_BOOL),
        _fixed("INT8", "i1", "int_contents", config.TYPE_INT8),
        _fixed("INT16", "<i2", "int_contents", config.TYPE_INT16),
        _fixed("INT32", "<i4", "int_contents", config.TYPE_INT32),
        _fixed("INT64", "<i8", "int64_contents", config.TYPE_INT64),
        _fixed("UINT8", "u1", "uint_contents", config.TYPE_UINT8),
        _fixed("UINT16", "<u2", "uint_contents", config.TYPE_UINT16),
        _fixed("UINT32", "<u4", "uint_contents", config.TYPE_UINT32),
        _fixed("UINT64", "<u8", "uint64_contents", config.TYPE_UINT64),
        _fixed("FP16", "<f2", None, config.TYPE_FP16),
        _fixed("BF16", "<u2", None, config.TYPE_BF16),  # the upper half of an FP32
        _fixed("FP32", "<f4", "fp32_contents", config.TYPE_FP32),
        _fixed("FP64", "<f8", "fp64_contents", config.TYPE_FP64),
        Datatype("BYTES", None, "bytes_contents", config.TYPE_STRING),
    )
}
_NAMES = {
    each.dtype: each.name for each in DATATYPES.values() if each.dtype and each.name != "BF16"
}


def encoded(array: Array) -> tuple[str, bytes]:
    """An array's datatype and raw bytes; text and objects become BYTES."""
    name = _NAMES.get(array.dtype)
    if name is not None:
        return name, array.tobytes()
    if array.dtype.kind not in "OUS":
        raise InternalError(f"an output has the dtype {array.dtype}, which the protocol lacks")
    return "BYTES", b"".join(_element(value) for value in array.flat)


def _element(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else str(value).encode()
    return len(data).to_bytes(4, "little") + data
