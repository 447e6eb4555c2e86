"""Aaren's networks: what a configuration is built as, with Aaren or with another token mixer."""

from __future__ import annotations

from torch import nn

from foretoken.models.aaren.classifier import Classifier
from foretoken.models.aaren.config import AarenConfig
from foretoken.models.aaren.forecaster import Forecaster
from foretoken.models.layers.mixers import Mixer, MixerFactory
from foretoken.models.layers.mixers.aaren import Aaren

__all__ = ["aaren", "build"]


def aaren(config: AarenConfig) -> MixerFactory:
    """The mixers of a model of that shape."""

    def mixer(layer: int) -> Mixer:
        del layer  # all are alike
        return Aaren(config.width, config.heads, config.decay, folded=config.folded)

    return mixer


def build(
    config: AarenConfig, mixer: MixerFactory | None = None, dropout: float = 0.0
) -> nn.Module:
    """A ``Forecaster`` or a ``Classifier``, with random weights.

    Args:
        config: sizes and head.
        mixer: of each layer; the default is Aaren.
        dropout: in training; a classifier's alone.
    """
    mixer = mixer or aaren(config)
    if config.head == "forecaster":
        return Forecaster(config, mixer)
    return Classifier(config, mixer, dropout)
