"""A small CoLa with a tokenizer. Its weights are drawn: it says nonsense, and always the same."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.cola import FAMILY
from foretoken.models.cola.model import ColaConfig, ColaModel
from foretoken.models.cola.vocabulary import EOS, VOCABULARY

__all__ = ["CONFIG", "LAYERS", "POSITIONS", "chained"]

LAYERS, POSITIONS = FAMILY.small["shape"]["layers"], FAMILY.small["positions"]
CONFIG = {
    **FAMILY.small,
    "shape": {**FAMILY.small["shape"], "vocab": len(VOCABULARY)},
    "tokenizer": len(VOCABULARY.tokenizer_json()),
    "generation": {"ends": [EOS], "sample": False},
}


def chained(folder: Path, **config: object) -> Artefact:
    """An artefact in ``folder``; ``config`` says what is to be unlike ``CONFIG``."""
    said = {**CONFIG, **config}
    torch.manual_seed(4)
    made = ColaModel(ColaConfig.of(said)).eval()
    for weights in made.parameters():
        torch.nn.init.normal_(weights, std=0.4)
    if said["tokenizer"]:
        kept = torch.frombuffer(bytearray(VOCABULARY.tokenizer_json()), dtype=torch.uint8)
        made.tokenizer.json.copy_(kept)
    save_file(made.state_dict(), folder / WEIGHTS)
    Artefact("cola", said, {}).write(folder)
    return Artefact.read(folder)
