"""Small models of each head, with weights that matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from foretoken.models.aaren.config import AarenConfig
from foretoken.models.aaren.model import build

FORECASTER = AarenConfig(
    width=16, layers=2, heads=4, mlp=32, window=24, horizon=5, decay=(0.0, 0.5, 0.1, 0.01)
)
CLASSIFIER = replace(
    FORECASTER,
    head="classifier",
    inputs=2,
    window=4,
    horizon=0,
    levels=(),
    classes=("a", "b", "c"),
    mean=(0.0, 5.0),
    std=(1.0, 0.5),
)


def built(config):
    torch.manual_seed(0)
    module = build(config).eval()
    with torch.no_grad():
        for name, p in module.named_parameters():
            if name.startswith(("head", "gates")):
                p.add_(0.1 * torch.randn_like(p))
    return module


@pytest.fixture(scope="session")
def forecaster():
    return built(FORECASTER)


@pytest.fixture(scope="session")
def classifier():
    return built(CLASSIFIER)
