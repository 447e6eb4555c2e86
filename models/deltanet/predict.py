"""DeltaNet's request logic: tokens in, logits of what comes next out.

Letters: T tokens, V of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array, Arrays, Call, Steps
from foretoken.models.tasks import SequenceReply, SequenceRequest

__all__ = ["TokenPredictor"]


class TokenPredictor:
    """Answers ``SequenceRequest``s; see ``foretoken.models.kinds.Recurrent``.

    Args:
        vocab: V.
        shapes: of the state's tensors by name, without the batch axis.
    """

    version = 1

    def __init__(self, vocab: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._vocab, self._shapes = vocab, dict(shapes)

    def start(self) -> Arrays:
        """Nothing seen: zeros, float32 [1, ...]."""
        return {name: np.zeros((1, *shape), np.float32) for name, shape in self._shapes.items()}

    def options(self, given: Mapping[str, float | str]) -> Mapping[str, float | str]:
        """There are none.

        Raises:
            InvalidInput: if any are given.
        """
        if given:
            raise InvalidInput(
                f"no such options: {', '.join(sorted(given))}; a sequence of tokens has none"
            )
        return {}

    def predict(self, request: SequenceRequest, state: Any = None) -> Steps:
        """One call of ``step`` for one token, else of ``scan``.

        Args:
            request: values [T, 1] are tokens, integers 0 to V - 1.
            state: of the sequence so far; None: from the start.

        Returns:
            Steps whose reply has, after each token, ``logits`` float32 [T, V] of the next one, and
            ``likeliest`` int64 [T], the token of the largest.

        Raises:
            InvalidInput: if a value is not such a token.
        """
        self.options(request.options)
        tokens = self._tokens(request.values)
        kept = self.start() if state is None else state
        if len(tokens) == 1:
            (made,) = yield [Call("step", {"x": tokens}, kept)]
            logits = made["logits"]
        else:
            length = np.array([len(tokens)], np.int64)
            (made,) = yield [Call("scan", {"x": tokens[None], "length": length}, kept)]
            logits = made["logits"][0]
        return SequenceReply({"logits": logits, "likeliest": logits.argmax(-1)})

    def _tokens(self, values: Array) -> Array:
        """int64 [T, 1]."""
        if values.shape[1] != 1:
            raise InvalidInput(
                f"values have shape {values.shape}; a token is one number, so [T, 1] is needed"
            )
        wrong = ~((values >= 0) & (values < self._vocab) & (values == np.floor(values)))  # or NaN
        if wrong.any():
            at = int(np.flatnonzero(wrong[:, 0])[0])
            raise InvalidInput(
                f"value {at} is {values[at, 0]:g}, which is no token; tokens are the integers "
                f"0 to {self._vocab - 1}"
            )
        return values.astype(np.int64)
