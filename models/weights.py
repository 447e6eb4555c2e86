"""A version's safetensors as NumPy arrays that lie in the file: mapped, never copied, no torch.

Processes that map the same file share its pages. The layout is that of the safetensors format:
eight bytes of header length (little-endian), the header in JSON, then the tensors' raw bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from foretoken.errors import DataLoss
from foretoken.models.contract import Array

__all__ = ["Stored", "mapped", "metadata"]

_LENGTH = 8  # bytes of the header's length
_DTYPES = {
    "BF16": np.uint16,  # NumPy has no bfloat16: its bits
    "BOOL": np.bool_,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
}


@dataclass(frozen=True)
class Stored:
    """A read-only tensor: ``dtype`` by safetensors' name ("F32"), BF16 as the bits in uint16."""

    dtype: str
    array: Array


def mapped(path: Path) -> Mapping[str, Stored]:
    """All tensors of a safetensors file, by name; the arrays keep the mapping alive.

    Raises:
        DataLoss: if the file is missing, truncated, not safetensors or of an unknown dtype.
    """
    try:
        with safe_open(path, framework="numpy") as whole:  # checks header, offsets and length
            names = list(whole.keys())
        data = np.memmap(path, np.uint8, mode="r")
    except (OSError, SafetensorError) as e:
        raise DataLoss(f"{path} cannot be read as safetensors: {e}") from e
    start = _LENGTH + int.from_bytes(data[:_LENGTH].tobytes(), "little")
    header = json.loads(data[_LENGTH:start].tobytes())
    try:
        return {name: _stored(data[start:], header[name]) for name in names}
    except KeyError as e:
        raise DataLoss(f"{path} holds a tensor of dtype {e}; known are {', '.join(_DTYPES)}") from e


def metadata(path: Path) -> Mapping[str, str]:
    """What a safetensors file says of itself.

    Raises:
        DataLoss: if the file is missing, truncated or not safetensors.
    """
    try:
        with safe_open(path, framework="numpy") as whole:
            return whole.metadata() or {}
    except (OSError, SafetensorError) as e:
        raise DataLoss(f"{path} cannot be read as safetensors: {e}") from e


def _stored(data: Array, entry: Mapping[str, Any]) -> Stored:
    begin, end = entry["data_offsets"]
    array: Array = np.frombuffer(data[begin:end], _DTYPES[entry["dtype"]])
    return Stored(entry["dtype"], array.reshape(entry["shape"]))
