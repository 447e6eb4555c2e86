"""Imports the authors' first release: their checkpoint file to an artefact folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from foretoken.errors import InvalidInput
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.layers.official import expect_layout, load_state, renamed
from foretoken.models.tabpfn.model import TabPFN, TabPFNConfig

__all__ = ["convert"]

HEADS = 4  # of the release
_NAMES = {
    "encoder": "embed_row",
    "y_encoder": "embed_class",
    "decoder.0": "head_in",
    "decoder.2": "head_out",
}
_UNUSED = frozenset({"criterion.weight"})  # of the loss in training
_ACTIVATIONS = (nn.Tanh, nn.ReLU, nn.Identity, nn.GELU, nn.LeakyReLU, nn.ELU, nn.Sigmoid)


def convert(source: Path, out: Path, *, heads: int) -> None:
    """Write ``out`` from ``torch.save((state_dict, None, config))``.

    Args:
        source: the checkpoint.
        out: the artefact folder, which does not exist.
        heads: of attention, which a state dict does not tell; 0 takes the config's.

    Raises:
        InvalidInput: if ``source`` is no file of tensors in that layout.
    """
    if heads < 0:
        raise InvalidInput(f"option heads={heads}: accepted is 0 or more")
    # Configurations of the release name activations of the prior; none of them is ever called.
    state, said = load_state(source, allowed=_ACTIVATIONS)
    ours = renamed(state, _NAMES, unused=_UNUSED, model="TabPFN release")
    config = _config(ours, heads or _heads(said))
    with torch.device("meta"):
        expected = TabPFN(TabPFNConfig(**config)).state_dict()
    expect_layout(source, ours, expected, model="TabPFN")
    out.mkdir(parents=True)
    save_file({name: t.float().contiguous() for name, t in ours.items()}, out / WEIGHTS)
    training = {"data": "imported from the authors' checkpoint"}
    Artefact("tabpfn", config, {}, training=training).write(out)


def _config(ours: Mapping[str, Tensor], heads: int) -> dict[str, Any]:
    needed = ("embed_row.weight", "head_in.weight", "head_out.weight")
    if absent := [name for name in needed if name not in ours or ours[name].ndim != 2]:
        raise InvalidInput(f"this is no TabPFN: {', '.join(absent)} missing or misshapen")
    width, features = ours["embed_row.weight"].shape
    return {
        "width": width,
        "layers": sum(name.endswith("qkv.weight") for name in ours),
        "heads": heads,
        "mlp": ours["head_in.weight"].shape[0],
        "rows": 1024,
        "features": features,
        "classes": ours["head_out.weight"].shape[0],
        "norm_first": False,
        "labels": "linear",
        "shared": None,
        "pipeline": "v1",
    }


def _heads(said: object) -> int:
    found = said.get("nhead", HEADS) if isinstance(said, dict) else HEADS
    if not isinstance(found, int) or found < 1:
        raise InvalidInput(f"the checkpoint names {found!r} attention heads; give the option heads")
    return found
