"""bfloat16: a child version whose matrices are stored and multiplied in 16 bits, by torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from foretoken.errors import Unsupported
from foretoken.exporters.modules import load_module
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.contract import Family

__all__ = ["halve"]


def halve(artefact: Artefact, family: Family, out: Path) -> Artefact:
    """Write the weights into ``out``, those of linear layers and tables of embeddings in bfloat16.

    Args:
        artefact: with float32 arithmetic.
        family: of the artefact.
        out: an existing folder.

    Returns:
        The child, with precision "bfloat16", without graphs, to be served by torch.

    Raises:
        Unsupported: if its arithmetic is another one.
        DataLoss, InvalidInput: as ``load_module``.
    """
    if artefact.precision != "float32":
        raise Unsupported(f"only float32 versions become bfloat16, not {artefact.precision} ones")
    parts = dict(load_module(artefact, family).named_modules())
    narrow = {name for name, part in parts.items() if isinstance(part, (nn.Linear, nn.Embedding))}
    stored = load_file(artefact.files[WEIGHTS])
    made = {
        name: tensor.to(torch.bfloat16) if name.rpartition(".")[0] in narrow else tensor
        for name, tensor in stored.items()
    }
    files = {n: path for n, path in artefact.files.items() if path.suffix != ".onnx"}
    files[WEIGHTS] = out / WEIGHTS
    save_file(made, files[WEIGHTS])
    # The size of batches that suits ONNX Runtime is not the one that suits torch.
    serving = {n: option for n, option in artefact.serving.items() if n != "batch_tokens"}
    serving["runtime"] = "torch"
    return replace(artefact, files=files, precision="bfloat16", export={}, serving=serving)
