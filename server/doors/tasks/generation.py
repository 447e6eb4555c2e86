"""Prompts to continue as tensors: one a request, answered as a whole.

Letters: T tokens of a prompt, L layers of a chain, E tokens that end an answer, S texts to stop at,
N tokens of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.generation import Sampling
from foretoken.models.tasks import GenerationReply, GenerationRequest
from foretoken.server.doors.tasks.base import (
    INTEGERS,
    Asked,
    Limits,
    Parameter,
    Tensor,
    expect_known,
    number,
    texts,
)

__all__ = ["CODEC", "GenerationCodec"]

TOKENS = 16  # of an answer, where nothing is said
_WHOLE = ("max_tokens", "top_k", "seed")
_REAL = ("temperature", "top_p", "min_p", "repetition_penalty")
PARAMETERS = (*_WHOLE, *_REAL, "stop")


class GenerationCodec:
    """``text_input`` [1] or ``input_ids`` [T] to one ``GenerationRequest``."""

    inputs = (
        Tensor("text_input", ("BYTES",), (1,), optional=True),
        Tensor("input_ids", INTEGERS, (1,), optional=True),
        Tensor("chain", INTEGERS, (1,), optional=True),  # [L]
        Tensor("ends", INTEGERS, (1,), optional=True),  # [E]
        Tensor("stop", ("BYTES",), (1,), optional=True),  # [S]
    )
    outputs = (
        Tensor("text_output", ("BYTES",), (1,)),
        Tensor("output_ids", ("INT64",), (1,)),
        Tensor("logprobs", ("FP32",), (1,)),
    )

    def decode(
        self, tensors: Mapping[str, Array], parameters: Mapping[str, Parameter], limits: Limits
    ) -> Asked:
        """Texts are counted before any of them is decoded; what is None is the model's own."""
        expect_known(parameters, PARAMETERS)
        chain, ends = (_integers(tensors, name, limits) for name in ("chain", "ends"))
        whole = {name: _whole(parameters, name) for name in _WHOLE}
        most, top_k, seed = (whole[name] for name in _WHOLE)
        real = {name: number(parameters, name) for name in _REAL}
        request = GenerationRequest(
            _prompt(tensors, limits),
            TOKENS if most is None else most,
            Sampling(top_k=top_k, seed=seed or 0, **real),
            chain,
            stop=_stop(tensors, parameters, limits),
            ends=ends or (),
        )
        return Asked([request])

    def encode(self, name: str, replies: Sequence[GenerationReply], asked: Asked) -> Array:
        """``text_output`` [1], ``output_ids`` [N], ``logprobs`` [N]."""
        (reply,) = replies
        if name == "text_output":
            return np.array([reply.text.encode()], object)
        if name == "output_ids":
            return np.array([token.id for token in reply.tokens], np.int64)
        return np.array([token.logprob for token in reply.tokens], np.float32)

    def names(self, replies: Sequence[GenerationReply]) -> Sequence[str]:
        """All of ``outputs``."""
        return [tensor.name for tensor in self.outputs]

    def work(self, asked: Asked) -> int:
        """An answer is short."""
        return 1


def _prompt(tensors: Mapping[str, Array], limits: Limits) -> str | Array:
    text, ids = tensors.get("text_input"), tensors.get("input_ids")
    if (text is None) == (ids is None):
        raise InvalidInput(
            "a prompt is the tensor 'text_input', BYTES [1], or 'input_ids', INT64 [T]: give one "
            "of them"
        )
    if ids is not None:
        _expect_few("input_ids", ids, limits)
        return ids
    assert text is not None
    if text.size != 1:
        raise InvalidInput(f"tensor 'text_input' has {text.size} elements; give one in a request")
    limits.texts.expect_short([*map(len, text.flat)], 0)
    return texts("text_input", text)[0]


def _stop(
    tensors: Mapping[str, Array], parameters: Mapping[str, Parameter], limits: Limits
) -> tuple[str, ...]:
    array, one = tensors.get("stop"), parameters.get("stop")
    if array is None:
        if not isinstance(one, str | None):
            raise InvalidInput(f"parameter 'stop' must be a string, not {one!r}")
        return () if one is None else (one,)
    if one is not None:
        raise InvalidInput("stop is given as a tensor and as a parameter; give one of them")
    limits.texts.expect_short([*map(len, array.flat)], 0)
    return tuple(texts("stop", array))


def _integers(tensors: Mapping[str, Array], name: str, limits: Limits) -> tuple[int, ...] | None:
    array = tensors.get(name)
    if array is None:
        return None
    _expect_few(name, array, limits)
    return tuple(array.tolist())


def _expect_few(name: str, array: Array, limits: Limits) -> None:
    """Refuse more than this server takes before an object is made of each."""
    if array.size > limits.tokens:
        raise InvalidInput(
            f"tensor {name!r} has {array.size} elements; this server takes at most {limits.tokens} "
            "tokens in a call"
        )


def _whole(parameters: Mapping[str, Parameter], name: str) -> int | None:
    value = parameters.get(name)
    if value is not None and type(value) is not int:
        raise InvalidInput(f"parameter {name!r} must be an integer, not {value!r}")
    return value


CODEC = GenerationCodec()
