"""Exports a family's graphs to ONNX files that carry no weights of their own.

Every parameter and buffer becomes an external initialiser of the same name as in the version's
safetensors, which a runtime supplies at load. So nothing is stored twice, and the bytes of a graph
depend on the family and its configuration alone: versions that differ in weights share the files.

A weight stored in 16 bits enters as such and is cast to float32 inside the graph.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from foretoken.errors import Unsupported
from foretoken.exporters.modules import load_module
from foretoken.exporters.names import input_names, output_names
from foretoken.exporters.rewrite import declare, optimise, stripped
from foretoken.models.artefact import WEIGHTS, Artefact, graph_file
from foretoken.models.contract import Family, Graph, Tensor
from foretoken.models.weights import mapped

__all__ = ["OPSET", "export"]

OPSET = 20


class _Method(nn.Module):
    """One method of a module as a module, which is what torch can export."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module = module
        self.method = name

    def forward(self, *tensors: torch.Tensor) -> Any:
        return getattr(self.module, self.method)(*tensors)


def export(artefact: Artefact, family: Family, out: Path) -> Artefact:
    """Write ``<graph>.onnx`` into ``out`` for every graph of ``family``.

    Args:
        artefact: with float32, float16 or bfloat16 weights.
        family: of the artefact.
        out: an existing folder.

    Returns:
        The artefact with these files, and by graph in ``export``: opset, ir_version, weights.

    Raises:
        Unsupported: if torch cannot export a graph with dynamic shapes, or if a graph holds a
            large constant that is not among the weights.
        DataLoss, InvalidInput: as ``load_module``.
    """
    module = load_module(artefact, family)
    stored = {name: t.dtype for name, t in mapped(artefact.files[WEIGHTS]).items()}
    files, said = dict(artefact.files), {}
    for graph in family.graphs(artefact.config):
        model = _traced(module, graph, family.name)
        weights = optimise(model, _names(module, stored), stored)
        declare(model, graph)
        path = out / graph_file(graph.name)
        path.write_bytes(stripped(model))
        files[path.name] = path
        said[graph.name] = {"opset": OPSET, "ir_version": model.ir_version, "weights": weights}
    return replace(artefact, files=files, export=said)


def _traced(module: nn.Module, graph: Graph, family: str) -> ir.Model:
    letters = dict(zip(_letters(graph), _primes(), strict=False))
    tensors = (*graph.inputs, *graph.reads)
    try:
        with _quiet():
            program = torch.onnx.export(
                _Method(module, graph.name).eval(),
                tuple(_zeros(t, letters) for t in tensors),
                dynamo=True,
                optimize=False,
                verbose=False,
                opset_version=OPSET,
                input_names=input_names(graph),
                output_names=output_names(graph),
                dynamic_shapes=(tuple(_dynamic(t) for t in tensors),),
            )
    except torch.onnx.OnnxExporterError as e:
        raise Unsupported(f"graph {graph.name!r} of {family!r} does not export to ONNX: {e}") from e
    assert program is not None  # of a dynamo export
    return program.model


def _letters(graph: Graph) -> list[str]:
    dims = (dim for t in (*graph.inputs, *graph.reads) for dim in t.dims)
    return list(dict.fromkeys(dim for dim in dims if isinstance(dim, str)))


def _primes() -> Iterator[int]:
    """Lengths of letters in tracing: distinct, and none a multiple of another.

    They are above 64, so that those cut into chunks have several: torch takes any length of 1, even
    one that is computed, for a constant.
    """
    return (n for n in count(65) if all(n % d for d in range(2, n)))


def _zeros(tensor: Tensor, letters: dict[str, int]) -> torch.Tensor:
    shape = [letters[dim] if isinstance(dim, str) else dim for dim in tensor.dims]
    return torch.zeros(shape, dtype=getattr(torch, tensor.dtype))


def _dynamic(tensor: Tensor) -> dict[int, Any]:
    hint = torch.export.Dim.DYNAMIC
    return {axis: hint for axis, dim in enumerate(tensor.dims) if isinstance(dim, str)}


def _names(module: nn.Module, stored: Mapping[str, str]) -> dict[str, str]:
    """The traced names of parameters and buffers -> their names in the safetensors.

    Of tied parameters the safetensors hold one, under any of their names.
    """
    tensors: dict[str, torch.Tensor] = dict(module.named_buffers(remove_duplicate=False))
    tensors.update(module.named_parameters(remove_duplicate=False))
    kept = {id(tensor): name for name, tensor in tensors.items() if name in stored}
    return {f"module.{n}": kept[id(tensor)] for n, tensor in tensors.items() if id(tensor) in kept}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporter from telling users of packages and axis names they never chose."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
