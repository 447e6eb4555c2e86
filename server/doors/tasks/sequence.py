"""Sequences as tensors: observations in, the model's own outputs out.

Letters: T observations, D of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tasks import SequenceReply, SequenceRequest
from foretoken.server.doors.tasks.base import (
    INTEGERS,
    REALS,
    Asked,
    Limits,
    Parameter,
    Tensor,
    floats,
    options,
)

__all__ = ["CODEC", "SequenceCodec"]


class SequenceCodec:
    """``values`` [T, D], a whole sequence or the next part of one, to one ``SequenceRequest``."""

    inputs = (Tensor("values", REALS + INTEGERS, (2,)),)
    outputs: tuple[Tensor, ...] = ()

    def decode(
        self, tensors: Mapping[str, Array], parameters: Mapping[str, Parameter], limits: Limits
    ) -> Asked:
        """A call's tokens are its observations, T; parameters are the family's options."""
        values = floats(tensors["values"])
        if len(values) > limits.tokens:
            raise InvalidInput(f"{len(values)} observations; a call may have {limits.tokens}")
        return Asked([SequenceRequest(values, options(parameters))])

    def encode(self, name: str, replies: Sequence[SequenceReply], asked: Asked) -> Array:
        """The model's output of that name, [T, ...]."""
        outputs = replies[0].outputs
        if name not in outputs:
            raise InvalidInput(f"no output {name!r}; there are {', '.join(outputs)}")
        return outputs[name]

    def names(self, replies: Sequence[SequenceReply]) -> Sequence[str]:
        """Those of the model."""
        return tuple(replies[0].outputs)

    def work(self, asked: Asked) -> int:
        """Outputs are sent as they are."""
        return 1


CODEC = SequenceCodec()
