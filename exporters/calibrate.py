"""Which input channels of a module's matrices become far larger than the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from foretoken.exporters.modules import load_module
from foretoken.models.artefact import Artefact
from foretoken.models.contract import Array, Family

__all__ = ["outliers"]

SHARE = 16  # of so many channels one may be an outlier


def outliers(artefact: Artefact, family: Family) -> dict[str, Array]:
    """Outliers of linear layers, seen as the family's examples run through its module.

    A module may have an attribute ``outliers``, how many channels of each matrix these are. Without
    one nothing is run, and there are none.

    Returns:
        By name of a weight [N, K]: the indices of those of its K input channels whose largest size
        is largest, int64 [outliers], sorted; none of matrices that are too narrow.

    Raises:
        DataLoss, InvalidInput, Unsupported: as ``load_module``.
    """
    module = load_module(artefact, family)
    count = int(getattr(module, "outliers", 0))
    if not count:
        return {}
    found: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def seen(_layer: nn.Module, given: tuple[Tensor, ...]) -> None:
            largest = given[0].abs().flatten(0, -2).amax(0)
            found[name] = torch.maximum(found.get(name, largest), largest)

        return seen

    for name, part in module.named_modules():
        if isinstance(part, nn.Linear) and part.in_features >= SHARE * count:
            part.register_forward_pre_hook(watch(f"{name}.weight"))
    with torch.inference_mode():
        for graph in family.graphs(artefact.config):
            for example in family.examples(artefact.config, graph.name):
                given = [torch.tensor(example[t.name]) for t in (*graph.inputs, *graph.reads)]
                getattr(module, graph.name)(*given)
    return {name: sizes.topk(count).indices.sort().values.numpy() for name, sizes in found.items()}
