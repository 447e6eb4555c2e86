"""Children whose matrices are stored in 16 or 8 bits, and multiplied by torch: without graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from foretoken.errors import Unsupported
from foretoken.exporters.modules import load_module
from foretoken.exporters.rows import in_rows
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.contract import Family

__all__ = ["narrow"]

_HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
LEAST = 64  # of both sides of a matrix in int8: smaller ones are few bytes


def narrow(artefact: Artefact, family: Family, out: Path, precision: str = "bfloat16") -> Artefact:
    """Write the weights into ``out``, those of linear layers and tables of embeddings narrower.

    Args:
        artefact: with float32 arithmetic.
        family: of the artefact.
        out: an existing folder.
        precision: "bfloat16", "float16", or "int8" for matrices of at least 64 x 64 (``in_rows``).

    Returns:
        The child, with that precision, without graphs, to be served by torch.

    Raises:
        Unsupported: if its arithmetic is another one, nothing in it is worth int8, or a weight is
            too large for the precision.
        DataLoss, InvalidInput: as ``load_module``.
    """
    if artefact.precision != "float32":
        raise Unsupported(
            f"only float32 versions become {precision}, not {artefact.precision} ones"
        )
    parts = dict(load_module(artefact, family).named_modules())
    owners = {name for name, part in parts.items() if isinstance(part, (nn.Linear, nn.Embedding))}
    stored = load_file(artefact.files[WEIGHTS])
    own = {name: tensor for name, tensor in stored.items() if name.rpartition(".")[0] in owners}
    made = _in_int8(own) if precision == "int8" else _halved(own, precision)
    files = {n: path for n, path in artefact.files.items() if path.suffix != ".onnx"}
    files[WEIGHTS] = out / WEIGHTS
    save_file({**{n: t for n, t in stored.items() if n not in own}, **made}, files[WEIGHTS])
    # The size of batches that suits ONNX Runtime is not the one that suits torch.
    serving = {n: option for n, option in artefact.serving.items() if n != "batch_tokens"}
    serving["runtime"] = "torch"
    return replace(artefact, files=files, precision=precision, export={}, serving=serving)


def _halved(own: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    made = {name: tensor.to(_HALVES[precision]) for name, tensor in own.items()}
    for name, tensor in made.items():
        if (tensor.isinf() & own[name].isfinite()).any():
            most = torch.finfo(tensor.dtype).max
            raise Unsupported(f"{name} holds weights beyond {most:g}, the most in {precision}")
    return made


def _in_int8(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    large = {n for n, tensor in own.items() if tensor.ndim == 2 and min(tensor.shape) >= LEAST}
    if not large:
        raise Unsupported(f"no matrix has {LEAST} x {LEAST} weights or more, so int8 saves nothing")
    made = {name: tensor for name, tensor in own.items() if name not in large}
    for name in large:
        made |= in_rows(name, own[name])
    return made
