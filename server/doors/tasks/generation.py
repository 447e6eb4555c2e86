"""Generation, which has no form as tensors: its replies are streams of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Never

from foretoken.errors import Unsupported
from foretoken.models.contract import Array
from foretoken.server.doors.tasks.base import Asked, Limits, Parameter, Tensor

__all__ = ["CODEC", "GenerationCodec"]


class GenerationCodec:
    """Refuses every request, and says why."""

    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()

    def decode(
        self, tensors: Mapping[str, Array], parameters: Mapping[str, Parameter], limits: Limits
    ) -> Never:
        """Refuse."""
        raise Unsupported(
            "this model generates text, token by token, which the Open Inference Protocol has no "
            "tensors for"
        )

    def encode(self, name: str, replies: Sequence[object], asked: Asked) -> Never:
        """Refuse likewise: nothing was ever asked."""
        self.decode({}, {}, Limits(0, 0))

    def names(self, replies: Sequence[object]) -> Sequence[str]:
        """None."""
        return ()

    def work(self, asked: Asked) -> int:
        """None."""
        return 0


CODEC = GenerationCodec()
