"""Tokens by their own texts, and logarithms of probabilities, as JSON can say them."""

from __future__ import annotations

from foretoken.models.kinds import Generative

__all__ = ["Pieces"]

LEAST = -9999.0  # stands for what is less, which JSON may have no number for


class Pieces:
    """Texts of tokens, each looked up once; it belongs to one answer.

    Args:
        predictor: whose tokens they are.
    """

    def __init__(self, predictor: Generative) -> None:
        self._predictor = predictor
        self._known: dict[int, str | None] = {}

    def text(self, token: int) -> str | None:
        """A token's own text, None if it has none: it is part of a character."""
        if token not in self._known:
            self._known[token] = self._predictor.piece(token)
        return self._known[token]

    def name(self, token: int) -> str:
        """Its text, or what stands for it: "token_id:" and its number."""
        text = self.text(token)
        return f"token_id:{token}" if text is None else text

    @staticmethod
    def number(logprob: float) -> float:
        """The logarithm of a probability, or the least that is told."""
        return max(logprob, LEAST)
