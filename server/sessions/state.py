"""A session's state as bytes, and back: what a snapshot is, wherever it is kept or sent.

Little-endian: the magic, the number of the format, the length and the SHA-256 of the rest; then
the length of the metadata, the metadata in JSON, and the arrays as safetensors. The same state is
the same bytes. A checksum tells damage, not forgery: nothing that is read here is trusted.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from foretoken.errors import DataLoss, FailedPrecondition, InternalError, InvalidInput
from foretoken.models.contract import Array, Tensor
from foretoken.server.engine.batches import BITS

__all__ = ["FORMAT", "Snapshot", "expect_fits", "expect_whole", "from_bytes", "to_bytes"]

MAGIC = b"\x89FTSTATE"
FORMAT = 1
_HEADER = struct.Struct("<8sIQ32s")  # magic, format, length and SHA-256 of the rest
_LENGTH = struct.Struct("<I")  # of the metadata
_FLOATS, _SIGNED = ("float16", "float32", "float64"), ("int8", "int16", "int32", "int64")
_DTYPES = frozenset((*_FLOATS, *_SIGNED, "uint8", "uint16", "uint32", "uint64", "bool"))
LARGEST = 1 << 53  # of counts that a state tells; so many observations are never made
_SOUGHT = "give the bytes that a snapshot was returned as"


@dataclass(frozen=True)
class Snapshot:
    """A state of one session, and what may go on from it.

    Args:
        model: registered name, for people.
        version: its number, for people.
        manifest: digest of the version's manifest, which no other version's weights have.
        predictor: version of what happens around the graphs.
        step: observations that the state has seen, int64.
        options: of the session, in full.
        arrays: what "step" reads and writes, by name, each [*dims] without a batch axis.
    """

    model: str
    version: int
    manifest: str
    predictor: int
    step: int
    options: Mapping[str, float | str]
    arrays: Mapping[str, Array]


def to_bytes(snapshot: Snapshot) -> bytes:
    """A snapshot's bytes; the same ones for the same state.

    Raises:
        InternalError: if an array is not of numbers, or an option neither text nor finite.
    """
    arrays: dict[str, Array] = {}
    for name, array in snapshot.arrays.items():
        if array.dtype.name not in _DTYPES:
            raise InternalError(f"{name} of a state is {array.dtype}; it must be of numbers")
        # safetensors writes memory as it lies there, whatever the strides are.
        arrays[name] = np.asarray(array, array.dtype.newbyteorder("="), order="C")
    about = {
        "model": snapshot.model,
        "version": snapshot.version,
        "manifest": snapshot.manifest,
        "predictor": snapshot.predictor,
        "step": snapshot.step,
        "options": {k: v if isinstance(v, str) else float(v) for k, v in snapshot.options.items()},
    }
    try:
        text = json.dumps(about, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as e:
        raise InternalError(f"what is said of a state is not plain JSON: {e}") from e
    rest = _LENGTH.pack(len(text)) + text + save(arrays)
    return _HEADER.pack(MAGIC, FORMAT, len(rest), hashlib.sha256(rest).digest()) + rest


def from_bytes(data: bytes) -> Snapshot:
    """The snapshot that ``to_bytes`` made these bytes of, bit for bit.

    Raises:
        InvalidInput: if they are no snapshot, or one of a newer release.
        DataLoss: if they are not all there, or have changed.
    """
    expect_whole(data)
    start = _HEADER.size + _LENGTH.size
    try:
        (length,) = _LENGTH.unpack_from(data, _HEADER.size)
        if length > len(data) - start:
            raise ValueError("the metadata would end behind the end")
        about = json.loads(data[start : start + length])
        return Snapshot(**_described(about), arrays=_arrays(data[start + length :]))
    except (struct.error, ValueError, TypeError, OverflowError, RecursionError) as e:
        raise InvalidInput(f"these bytes are no snapshot that this release reads: {e}") from e


def expect_whole(data: bytes) -> None:
    """Do nothing if these bytes are a snapshot's, all of them and unchanged.

    Raises:
        InvalidInput: if they are no snapshot, or one of a newer release.
        DataLoss: if they are not all there, or have changed.
    """
    if data[: len(MAGIC)] != MAGIC and not (data and MAGIC.startswith(data)):
        raise InvalidInput(f"these {len(data)} bytes are not a snapshot; {_SOUGHT}")
    if len(data) < _HEADER.size:
        raise DataLoss(f"the snapshot is cut off after {len(data)} bytes, within its header")
    _, form, length, digest = _HEADER.unpack_from(data)
    if form != FORMAT:
        raise InvalidInput(
            f"the snapshot is of format {form}; this release reads {FORMAT}: upgrade Foretoken, or "
            "begin the session anew"
        )
    there = len(data) - _HEADER.size
    if there != length:
        how = "cut off" if there < length else "longer than it was"
        raise DataLoss(f"the snapshot is {how}: {length} bytes behind its header, not {there}")
    if hashlib.sha256(memoryview(data)[_HEADER.size :]).digest() != digest:
        raise DataLoss("the snapshot's bytes have changed: their checksum is another one")


def expect_fits(
    snapshot: Snapshot, manifest: str, predictor: int, signature: Sequence[Tensor]
) -> None:
    """Do nothing if a version may go on from a snapshot.

    Args:
        snapshot: of whichever version.
        manifest: digest of the version's manifest.
        predictor: version of its predictor.
        signature: what its graphs read.

    Raises:
        FailedPrecondition: if it was taken of another model or version, or has another layout.
    """
    whose = f"the snapshot was taken of {snapshot.model}:{snapshot.version}"
    if snapshot.manifest != manifest:
        raise FailedPrecondition(
            f"{whose} (manifest {snapshot.manifest}), and only that version can go on from it; "
            f"this one has manifest {manifest}"
        )
    if snapshot.predictor != predictor:
        raise FailedPrecondition(
            f"{whose} by version {snapshot.predictor} of its predictor, which is {predictor} in "
            "this release; begin the session anew"
        )
    there = {name: (a.dtype.name, a.shape) for name, a in snapshot.arrays.items()}
    read = {t.name: (BITS.get(t.dtype, t.dtype), tuple(t.dims[1:])) for t in signature}
    if there != read:
        raise FailedPrecondition(
            f"{whose} and holds {_listed(there)}, where this version's graphs read {_listed(read)}"
        )


def _described(about: Any) -> dict[str, Any]:
    """The metadata, every field checked."""
    kinds = {"model": str, "version": int, "manifest": str, "predictor": int, "step": int}
    if not isinstance(about, dict) or set(about) != {*kinds, "options"}:
        raise ValueError(f"the metadata must hold options, {', '.join(kinds)} and nothing else")
    for name, kind in kinds.items():
        if type(about[name]) is not kind or (kind is int and not 0 <= about[name] < LARGEST):
            raise ValueError(f"{name} is not acceptable")
    options = about["options"]
    if not isinstance(options, dict):
        raise TypeError("options are by name")
    for name, value in options.items():
        if not isinstance(value, str) and not (type(value) is float and math.isfinite(value)):
            raise ValueError(f"option {name!r} is neither text nor a finite number")
    return about


def _arrays(data: bytes) -> Mapping[str, Array]:
    try:
        arrays: Mapping[str, Array] = load(data)  # checks that shapes and offsets fit the data
    except (SafetensorError, KeyError, AttributeError) as e:
        raise ValueError(f"its arrays are not safetensors that NumPy reads: {e}") from e
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"{name} is {array.dtype}; states are of numbers")
    return arrays


def _listed(tensors: Mapping[str, tuple[str, tuple[int | str, ...]]]) -> str:
    said = (f"{name}: {dtype} {list(dims)}" for name, (dtype, dims) in sorted(tensors.items()))
    return ", ".join(said) or "nothing"
