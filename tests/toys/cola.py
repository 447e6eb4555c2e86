"""A small CoLa with random weights over the vocabulary of problems, whose answers often end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.cola import FAMILY
from foretoken.models.cola.model import ColaConfig, ColaModel
from foretoken.models.cola.vocabulary import EOS, VOCABULARY

CONFIG: dict[str, Any] = {
    **FAMILY.small,
    "shape": {**FAMILY.small["shape"], "vocab": len(VOCABULARY)},
    "tokenizer": len(VOCABULARY.tokenizer_json()),
    "generation": {"ends": [EOS], "sample": False},
}


def made(seed: int = 4) -> ColaModel:
    """The module."""
    torch.manual_seed(seed)
    model = ColaModel(ColaConfig.of(CONFIG)).eval()
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.4)
    assert model.head is not None
    model.head.weight.data[EOS] *= 2.5
    kept = torch.frombuffer(bytearray(VOCABULARY.tokenizer_json()), dtype=torch.uint8)
    model.tokenizer.json.copy_(kept)
    return model


def written(model: ColaModel, folder: Path) -> Artefact:
    """The module as an artefact in a folder."""
    save_file(model.state_dict(), folder / WEIGHTS)
    Artefact("cola", CONFIG, {}).write(folder)
    return Artefact.read(folder)


@torch.no_grad()
def greedy(
    model: ColaModel, prompt: str, most: int, chain: Sequence[int] | None = None
) -> list[int]:
    """The answer's tokens without any cache, its end included."""
    ids = VOCABULARY.encode(prompt)
    begin = len(ids)
    while len(ids) < begin + most and (len(ids) == begin or ids[-1] != EOS):
        ids.append(int(model(torch.tensor([ids]), chain)[0, -1].argmax()))
    return ids[begin:]
