"""How tensors are called inside ONNX files, for exporters and runtimes alike; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foretoken.errors import InvalidInput
from foretoken.models.contract import Graph

__all__ = ["input_names", "output_names", "weights_of"]


def input_names(graph: Graph) -> list[str]:
    """Names of the ONNX inputs, in order: those of ``graph``'s inputs, then of its reads."""
    return [t.name for t in (*graph.inputs, *graph.reads)]


def output_names(graph: Graph) -> list[str]:
    """Names of the ONNX outputs, in order: outputs, then writes.

    ONNX assigns a name once, so a tensor that is read and written leaves as ``name.out``.
    """
    taken = set(input_names(graph))
    names = [t.name for t in (*graph.outputs, *graph.writes)]
    return [f"{name}.out" if name in taken else name for name in names]


def weights_of(export: Mapping[str, Any], graph: str) -> Sequence[str]:
    """Names of the weights that ``graph`` takes from the version's safetensors.

    Args:
        export: of an artefact, as the exporter wrote it.
        graph: its name.

    Raises:
        InvalidInput: if ``export`` does not say.
    """
    said = export.get(graph)
    names = said.get("weights") if isinstance(said, Mapping) else None
    if not isinstance(names, Sequence) or isinstance(names, str):
        raise InvalidInput(
            f"the description does not say which weights graph {graph!r} uses; export the version "
            "again with `foretoken models export`"
        )
    return names
