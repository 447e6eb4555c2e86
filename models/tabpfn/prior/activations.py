"""The non-linearities of the prior's graphs, applied node by node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foretoken.models.tabpfn.prior.draws import Draws

Ids = np.ndarray[Any, np.dtype[np.int64]]

# A cubic and a clamped exponential are kept within what a later layer can undo.
ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    torch.tanh,
    lambda x: x,
    torch.relu,
    lambda x: torch.nn.functional.leaky_relu(x, 0.2),
    torch.sin,
    torch.abs,
    lambda x: x.clamp(-4, 4).square(),
    torch.sign,
    lambda x: (x > 0.5).to(x.dtype),
    lambda x: torch.exp(-0.5 * x.square()),
    lambda x: torch.log(x.abs() + 0.1),
    lambda x: x.clamp(-5, 2).exp(),
    lambda x: torch.erf(x * 0.7071),  # the rank among normal values
    lambda x: x.clamp(-2, 2).round(),
    torch.sigmoid,
    lambda x: torch.sin(3 * x),
)
CLASSIC = 4  # the first few: half of all graphs use nothing else


def choose(draws: Draws, batch: int, layers: int, width: int) -> Ids:
    """Which activation each node has, int [batch, layers, width].

    A third of the graphs has one for all nodes, a third one per layer, a third one per node.
    """
    host = draws.host
    kinds = np.where(host.random(batch) < 0.5, CLASSIC, len(ACTIVATIONS))[:, None, None]
    ids = (host.random((batch, layers, width)) * kinds).astype(np.int64)
    style = host.random(batch)[:, None, None]
    ids = np.where(style < 2 / 3, ids[:, :, :1], ids)
    return np.where(style < 1 / 3, ids[:, :1], ids)


def activate(draws: Draws, x: Tensor, ids: Ids) -> Tensor:
    """Apply activation ids [B, H] to nodes x [B, H, R]."""
    flat = x.flatten(0, 1)
    out = torch.empty_like(flat)
    ids = ids.reshape(-1)
    for kind in np.unique(ids):
        where = draws.indices(np.flatnonzero(ids == kind))
        out.index_copy_(0, where, ACTIVATIONS[kind](flat.index_select(0, where)))
    return out.view_as(x)
