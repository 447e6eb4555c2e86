"""What is observed, and what a session answers, as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.errors import InternalError, InvalidInput
from foretoken.proto import sequences as wire

__all__ = ["WANTS", "Output", "Want", "joined", "observed", "output_of", "want_of"]

Want = str  # "every", "last" or "nothing"
WANTS: Mapping[str, wire.Want] = {
    "every": wire.EVERY,
    "last": wire.LAST,
    "nothing": wire.NOTHING,
}


class Output(Mapping[str, Any]):
    """What a model answers to observations, by name: ``out["quantiles"]`` or ``out.quantiles``.

    After one observation an output has the shape that the model gives it, and is a plain number
    where that is none. After an array of T observations it has T as its first axis; with
    ``want="last"`` it is as after one; with ``want="nothing"`` there are no outputs.

    Attributes:
        step: observations of the session so far.
        durable_step: of those, the ones that survive whatever happens to the server.
    """

    def __init__(self, step: int, durable_step: int, values: Mapping[str, Any]) -> None:
        self.step = step
        self.durable_step = durable_step
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            there = ", ".join(self.__dict__.get("_values", ())) or "none"
            raise AttributeError(f"no output {name!r}; there are: {there}")
        return self._values[name]

    def __repr__(self) -> str:
        return f"Output(step={self.step}, {', '.join(self._values)})"


def observed(given: ArrayLike, width: int) -> tuple[NDArray[np.float64], bool]:
    """Observations as float64 [T, D], and whether they were given as a single one.

    Of a model that observes D numbers a step, one step is an array of D and many are [T, D]. Where
    D is 1, one step is a number, and an array of T numbers is T steps.

    Raises:
        InvalidInput: if ``given`` is neither, or holds anything but numbers.
    """
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError) as e:
        raise InvalidInput(f"observations must be numbers, not {given!r}") from e
    if array.ndim == 0 and width == 1:
        return array.reshape(1, 1), True
    if array.ndim == 1 and width == 1 and array.size:
        return array.reshape(-1, 1), False
    if array.ndim == 1 and width > 1 and array.size == width:
        return array.reshape(1, width), True
    if array.ndim == 2 and array.shape[1] == width and len(array):
        return array, False
    one, many = ("a number", "[T]") if width == 1 else (f"[{width}]", f"[T, {width}]")
    raise InvalidInput(f"an observation is {one}, and T of them are {many}; not {array.shape}")


def want_of(given: Want) -> wire.Want:
    """Which outputs are asked for, as the wire has it.

    Raises:
        InvalidInput: if that is none of the choices.
    """
    if given not in WANTS:
        raise InvalidInput(f"want is one of {', '.join(WANTS)}, not {given!r}")
    return WANTS[given]


def output_of(said: Sequence[wire.Output]) -> dict[str, NDArray[Any]]:
    """The outputs of a response, each [T, ...], by name.

    Raises:
        InternalError: if they are malformed.
    """
    try:
        return {each.name: _array(each) for each in said}
    except (TypeError, ValueError) as e:
        raise InternalError(f"the response is malformed: {e}", id="") from e


def _array(said: wire.Output) -> NDArray[Any]:
    dtype = np.dtype(said.dtype).newbyteorder("<")
    if dtype.kind not in "fiub":
        raise ValueError(f"an output of dtype {said.dtype}")
    return np.frombuffer(said.data, dtype).reshape(tuple(said.shape))


def joined(parts: Sequence[Mapping[str, NDArray[Any]]], *, single: bool) -> dict[str, Any]:
    """The outputs of parts of what was observed, as one; ``single`` leaves their first axis out."""
    if single:
        return {name: _bare(array[-1]) for name, array in parts[-1].items()}
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _bare(value: Any) -> Any:
    return value.item() if np.ndim(value) == 0 else value
