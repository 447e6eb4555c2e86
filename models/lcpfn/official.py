"""Imports the authors' released weights: their state dict to an artefact folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.layers.official import expect_layout, load_state
from foretoken.models.lcpfn.model import LCPFN, LCPFNConfig, from_official


def convert(source: Path, out: Path, *, heads: int) -> None:
    """Write ``out`` from a state dict, with ``heads`` attention heads.

    Raises:
        InvalidInput: if ``source`` is no file of tensors in that layout.
    """
    state, _ = load_state(source)
    ours = from_official(state)
    config: dict[str, Any] = {
        "width": ours["embed_step.weight"].shape[0],
        "layers": sum(name.endswith("qkv.weight") for name in ours),
        "heads": heads,
        "mlp": ours["head_in.weight"].shape[0],
        "bars": ours["head_out.weight"].shape[0],
        "norm_first": False,
        "frame": "bounds",
    }
    with torch.device("meta"):
        expected = LCPFN(LCPFNConfig(**config)).state_dict()
    expect_layout(source, ours, expected, model="LC-PFN")
    out.mkdir(parents=True)
    save_file({name: t.float().contiguous() for name, t in ours.items()}, out / WEIGHTS)
    Artefact("lcpfn", config, {}, training={"data": "imported from the authors' layout"}).write(out)
