"""A module whose layers run one by one, run once through all of them without a pool.

Letters: R rows, T tokens of each, V tokens of the vocabulary, H heads of queries, K heads of keys
and values, D head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.models.layers.gqa import causal
from foretoken.server.runtimes.torch import TorchExecutable

__all__ = ["random_logits"]


def random_logits(executable: TorchExecutable, R: int = 8, T: int = 32) -> Tensor:
    """Logits after every token of rows that are drawn at random, always the same ones.

    Args:
        executable: of a ``models.generation.Layered``.
        R: rows.
        T: tokens of each.

    Returns:
        float32 [R * T, V], on the CPU.

    Raises:
        As ``TorchExecutable.computing``.
    """

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[N, H, D], [N, K, D] twice -> [N, H, D], where N is R * T."""
        return causal(*(each.view(R, T, *each.shape[1:]) for each in (q, k, v))).flatten(0, 1)

    module, device = executable.layered, executable.device
    with executable.computing("layer"):
        V = module.logits(module.embed(torch.zeros(1, dtype=torch.int64, device=device))).shape[-1]
        ids = torch.randint(V, (R * T,), generator=torch.Generator().manual_seed(0)).to(device)
        h, turned = module.embed(ids), module.turned(torch.arange(T, device=device).repeat(R))
        for index in range(module.layers):
            h = module.layer(index, h, turned, attend)
        return module.logits(h).float().cpu()
