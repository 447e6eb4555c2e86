"""Texts to embed as tensors. Letters: n texts, d dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tasks import TextReply, TextRequest
from foretoken.server.doors.tasks.base import (
    Asked,
    Limits,
    Parameter,
    Tensor,
    expect_known,
    texts,
)

__all__ = ["CODEC", "TextCodec"]

FIELDS = {"embedding": "vectors", "tokens": "tokens", "cut": "cut"}
PARAMETERS = ("dimensions", "prompt", "truncate")


class TextCodec:
    """``text`` [n] to one ``TextRequest``."""

    inputs = (Tensor("text", ("BYTES",), (1,)),)
    outputs = (
        Tensor("embedding", ("FP32",), (2,)),
        Tensor("tokens", ("INT64",), (1,)),
        Tensor("cut", ("INT64",), (1,)),
    )

    def decode(
        self, tensors: Mapping[str, Array], parameters: Mapping[str, Parameter], limits: Limits
    ) -> Asked:
        """Texts are counted before any of them is decoded."""
        expect_known(parameters, PARAMETERS)
        array = tensors["text"]
        dimensions = parameters.get("dimensions")
        if dimensions is not None and type(dimensions) is not int:
            raise InvalidInput(f"parameter 'dimensions' must be an integer, not {dimensions!r}")
        prompt, truncate = parameters.get("prompt"), parameters.get("truncate", "end")
        if not isinstance(prompt, str | None) or not isinstance(truncate, str):
            raise InvalidInput("parameters 'prompt' and 'truncate' must be strings")
        limits.texts.expect_few(array.size)
        limits.texts.expect_short([*map(len, array.flat)], len((prompt or "").encode()))
        return Asked([TextRequest(tuple(texts("text", array)), dimensions, prompt, truncate)])

    def encode(self, name: str, replies: Sequence[TextReply], asked: Asked) -> Array:
        """``embedding`` [n, d], ``tokens`` [n], ``cut`` [n]."""
        array: Array = getattr(replies[0], FIELDS[name])
        return array

    def names(self, replies: Sequence[TextReply]) -> Sequence[str]:
        """All of ``outputs``."""
        return tuple(FIELDS)

    def work(self, asked: Asked) -> int:
        """Vectors are sent as they are."""
        return 1


CODEC = TextCodec()
