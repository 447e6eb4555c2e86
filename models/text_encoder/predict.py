"""The request logic of text encoders, which is that of all models of texts."""

from __future__ import annotations

from foretoken.models.contract import Arrays, Config
from foretoken.models.layers.texts.options import Texts
from foretoken.models.layers.texts.predict import TextPredictor
from foretoken.models.layers.texts.tokens import tokens_of

__all__ = ["predictor"]


def predictor(config: Config, weights: Arrays) -> TextPredictor:
    """Of a version; see ``tokens_of`` for errors."""
    return TextPredictor(tokens_of(config, weights), Texts.of(config, config["shape"]["width"]))
