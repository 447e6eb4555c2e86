"""Imports the authors' released weights: their state dict to an artefact folder."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from foretoken.errors import InvalidInput
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.lcpfn.model import LCPFN, LCPFNConfig, from_official


def convert(source: Path, out: Path, *, heads: int) -> None:
    """Write ``out`` from a state dict, with ``heads`` attention heads.

    Raises:
        InvalidInput: if ``source`` is no file of tensors in that layout.
    """
    state = {name.removeprefix("module."): t for name, t in _state_dict(source).items()}
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
    wrong = {
        n
        for n in expected.keys() | ours.keys()
        if n not in ours or n not in expected or ours[n].shape != expected[n].shape
    }
    if wrong:
        raise InvalidInput(
            f"{source} is no LC-PFN: {', '.join(sorted(wrong))} missing or misshapen"
        )
    out.mkdir(parents=True)
    save_file({name: t.float().contiguous() for name, t in ours.items()}, out / WEIGHTS)
    Artefact("lcpfn", config, {}, training={"data": "imported from the authors' layout"}).write(out)


def _state_dict(source: Path) -> dict[str, Tensor]:
    try:
        if source.suffix == ".safetensors":
            return load_file(source)
        loaded: Any = torch.load(source, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as e:
        raise InvalidInput(
            f"{source} cannot be read as tensors alone: {e}. Save the model's state_dict() with "
            "torch.save or safetensors; whole pickled modules are never loaded"
        ) from e
    first = loaded[0] if isinstance(loaded, (tuple, list)) and loaded else loaded
    if not isinstance(first, dict) or not all(isinstance(t, Tensor) for t in first.values()):
        raise InvalidInput(f"{source} holds {type(first).__name__}, not a state dict of tensors")
    return first
