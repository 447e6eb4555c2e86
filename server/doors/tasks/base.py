"""What a codec of a task is, and the checks that several of them need.

Arrays are row-major; BYTES tensors are object arrays of ``bytes``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.server.doors.texts import TextLimits

__all__ = [
    "CONTEXT",
    "INTEGERS",
    "REALS",
    "Asked",
    "Codec",
    "Kept",
    "Limits",
    "Parameter",
    "Tensor",
    "context_of",
    "expect_known",
    "floats",
    "number",
    "options",
    "texts",
]

CONTEXT = "context_id"  # name of a tensor, and of a parameter
Parameter = bool | int | float | str
Floats = NDArray[np.float64]

REALS = ("FP64", "FP32", "FP16", "BF16")
INTEGERS = ("INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8")


@dataclass(frozen=True)
class Tensor:
    """An input or output of a task; every axis may have any length.

    Args:
        name: unlike any other's on its side.
        datatypes: that are accepted, by their names in the protocol; the first is announced.
        ranks: numbers of axes that are accepted; the first is announced.
        optional: whether requests may leave it out.
    """

    name: str
    datatypes: tuple[str, ...]
    ranks: tuple[int, ...]
    optional: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """As announced: an axis of any length is -1."""
        return (-1,) * self.ranks[0]


@dataclass(frozen=True)
class Limits:
    """Of one call.

    Args:
        tokens: most of them in all of its requests; each task says what its tokens are.
        reply_bytes: most bytes of the reply's tensors.
        texts: of those that are to be embedded.
    """

    tokens: int
    reply_bytes: int
    texts: TextLimits = field(default_factory=TextLimits)


@dataclass(frozen=True)
class Asked:
    """A call's typed requests, and what its codec needs to know again to encode the replies.

    With ``fit``, the one request is to be fitted and kept.
    """

    requests: Sequence[Any]
    layout: Any = None
    fit: bool = False


@dataclass(frozen=True)
class Kept:
    """The reply to a request to fit: the id of the context."""

    context: str


class Codec(Protocol):
    """Translates for all models of one task; keeps nothing."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]  # empty: they are the model's own

    def decode(
        self, tensors: Mapping[str, Array], parameters: Mapping[str, Parameter], limits: Limits
    ) -> Asked:
        """The requests that ``tensors``, already of accepted datatypes and ranks, stand for.

        Raises:
            InvalidInput: naming the tensor or parameter that is not acceptable.
            Unsupported: if the task has no form in this protocol.
        """

    def encode(self, name: str, replies: Sequence[Any], asked: Asked) -> Array:
        """The output ``name`` for all ``replies``."""

    def names(self, replies: Sequence[Any]) -> Sequence[str]:
        """The outputs of ``replies``, in the order in which they are answered."""

    def work(self, asked: Asked) -> int:
        """About how many microseconds it takes to encode all outputs."""


def expect_known(parameters: Mapping[str, Parameter], known: Sequence[str]) -> None:
    """Refuse parameters that mean nothing.

    Raises:
        InvalidInput: naming them and those there are.
    """
    if unknown := sorted(set(parameters) - set(known)):
        there = ", ".join(known) if known else "none"
        raise InvalidInput(
            f"no such parameters: {', '.join(unknown)}; of this task there are {there}"
        )


def context_of(tensors: Mapping[str, Array], parameters: Mapping[str, Parameter]) -> str | None:
    """The id of a context in a tensor or parameter, if there is one.

    Raises:
        InvalidInput: if there are several, or what is there is none.
    """
    tensor, parameter = tensors.get(CONTEXT), parameters.get(CONTEXT)
    if tensor is not None and parameter is not None:
        raise InvalidInput("context_id is given as a tensor and as a parameter; give one of them")
    if tensor is not None:
        said = texts(CONTEXT, tensor)
        if len(said) != 1:
            raise InvalidInput(f"tensor 'context_id' has {len(said)} elements; give one")
        parameter = said[0]
    if parameter is not None and (not isinstance(parameter, str) or not parameter):
        raise InvalidInput(f"context_id must be the text that a fit gave, not {parameter!r}")
    return parameter


def number(parameters: Mapping[str, Parameter], name: str) -> float | None:
    """The parameter as a float, or None if it is absent.

    Raises:
        InvalidInput: if it is not a number.
    """
    value = parameters.get(name)
    if value is None:
        return None
    if isinstance(value, bool | str):
        raise InvalidInput(f"parameter {name!r} must be a number, not {value!r}")
    return float(value)


def options(parameters: Mapping[str, Parameter]) -> dict[str, float | str]:
    """Parameters as options of a family, which says itself which there are.

    Raises:
        InvalidInput: if one is neither a number nor a string.
    """
    for name, value in parameters.items():
        if isinstance(value, bool):
            raise InvalidInput(f"parameter {name!r} must be a number or a string, not {value!r}")
    return {n: v if isinstance(v, str) else float(v) for n, v in parameters.items()}


def floats(array: Array) -> Floats:
    """As float64, without a copy where it is that already."""
    return array if array.dtype == np.float64 else array.astype(np.float64)


def texts(name: str, array: Array) -> list[str]:
    """The elements of a BYTES tensor as text.

    Raises:
        InvalidInput: naming the first element that is not UTF-8.
    """
    decoded = []
    for i, element in enumerate(array.flat):
        try:
            decoded.append(element.decode("utf-8"))
        except UnicodeDecodeError as e:
            raise InvalidInput(
                f"tensor {name!r}: element {i} is not UTF-8 ({e.reason} at byte {e.start})"
            ) from e
    return decoded
