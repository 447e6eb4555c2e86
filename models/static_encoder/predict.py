"""The request logic of static encoders, which is that of all models of texts."""

from __future__ import annotations

from foretoken.models.contract import Arrays, Config
from foretoken.models.layers.texts.options import Texts
from foretoken.models.layers.texts.predict import TextPredictor
from foretoken.models.layers.texts.tokens import tokens_of

__all__ = ["predictor"]

TOGETHER = 2048  # tokens of a call, whose rows then fit a core's cache


def predictor(config: Config, weights: Arrays) -> TextPredictor:
    """Of a version; see ``tokens_of`` for errors."""
    return TextPredictor(tokens_of(config, weights), Texts.of(config, config["width"]), TOGETHER)
