"""Random multi-layer perceptrons: graphs whose nodes are columns, and functions of columns.

Hollmann et al. 2022 (TabPFN), section 4 and appendix C: features and target are sampled nodes of
a sparse network with noise at every node; a Bayesian network is the case of no noise.
Letters: B data sets, H nodes a layer, N nodes in all, F features, S targets, R rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.models.tabpfn.prior.activations import Ids, activate, choose
from foretoken.models.tabpfn.prior.causes import causes
from foretoken.models.tabpfn.prior.draws import Draws, pick_rows, standardise

CPU_GROUP, GPU_GROUP = 16, 256  # data sets that share their layers' width and most depth
CAUSES = 12  # most root nodes of a graph


def network_graph(
    draws: Draws, batch: int, rows: int, features: int, targets: int
) -> tuple[Tensor, Tensor]:
    """Sample columns [B, F, R] and target scores [B, S, R] from noisy random networks."""
    group = CPU_GROUP if draws.device.type == "cpu" else GPU_GROUP
    sizes = [min(group, batch - i) for i in range(0, batch, group)]
    parts = [_group(draws, size, rows, features, targets) for size in sizes]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def _group(draws: Draws, b: int, rows: int, features: int, targets: int) -> tuple[Tensor, Tensor]:
    host, need = draws.host, features + targets + 2
    layers = min(2 + int(host.gamma(1.5, 1.0)), 5)
    least = -(-need // 2)  # two layers hold every column whatever the depth of a data set
    width = max(least, min(8 + int(host.gamma(1.5, 16.0)), 96))
    depth = host.integers(2, layers + 1, size=b)
    depth[::-1].sort()  # the deepest first: a layer is then a slice of the batch
    depth[0] = layers
    kinds = choose(draws, b, layers, width)
    parents = draws.log_uniform(b, 1, 1, low=0.6, high=CAUSES).ceil()
    cause = torch.arange(CAUSES, device=draws.device).view(1, -1, 1)
    x = causes(draws, b, CAUSES, rows) * (cause < parents)
    noise = draws.log_uniform(b, 1, 1, low=0.002, high=0.5) * draws.chance(0.85, b, 1, 1)
    drop = draws.uniform(b, 1, 1, low=0.3, high=0.97)
    state = []
    for layer in range(layers):
        alive = int((depth > layer).sum())
        x = _layer(draws, x[:alive], parents[:alive], kinds[:alive, layer], noise, drop)
        parents = torch.full_like(parents, width)
        full = x if alive == b else torch.cat([x, x.new_zeros(b - alive, width, rows)])
        state.append(full)
    nodes = torch.cat(state, 1)
    sizes = torch.from_numpy(depth).to(draws.device).unsqueeze(1) * width
    order = choose_nodes(draws, nodes, sizes, features, targets)
    chosen = pick_rows(nodes, order)
    shuffle = draws.indices(host.permutation(b))
    return chosen[shuffle, targets:], chosen[shuffle, :targets]


def _layer(
    draws: Draws, x: Tensor, parents: Tensor, kinds: Ids, noise: Tensor, drop: Tensor
) -> Tensor:
    """Nodes [B, H, R] that hang on the first `parents` [B, 1, 1] of nodes x [B, P, R].

    drop is the share of parents that a node has not, but each has one.
    """
    (b, p, r), h = x.shape, kinds.shape[1]
    noise, drop = noise[:b], drop[:b]
    block = 1 + int(draws.host.integers(0, 4))  # parents are dropped in blocks of neighbours
    kept = draws.chance(1 - drop, b, h, -(-p // block)).repeat_interleave(block, 2)[:, :, :p]
    sure = (draws.uniform(b, h, 1) * parents).long().clamp_max(p - 1)
    w = draws.normal(b, h, p) * kept.scatter(2, sure, value=True)
    x = standardise(w @ x + 1e-4 * draws.normal(b, h, 1))
    gain = draws.log_uniform(b, h, 1, low=0.4, high=3.0)
    x = activate(draws, torch.addcmul(0.7 * draws.normal(b, h, 1), x, gain), kinds)
    own = noise * draws.log_uniform(b, h, 1, low=0.3, high=3.0)
    return torch.addcmul(x, own, draws.normal(b, h, r))


def choose_nodes(draws: Draws, nodes: Tensor, sizes: Tensor, features: int, targets: int) -> Tensor:
    """Which of nodes [B, N, R] become targets, then features: int64 [B, S + F].

    Only the first sizes [B, 1] nodes of a data set exist, and nodes that vary are preferred.

    The target is an effect (late node), a cause (early) or any node; the features are spread over
    the graph or neighbours of each other (a clique), in the graph's order or shuffled.
    """
    b, n, _ = nodes.shape
    place = torch.arange(n, device=draws.device).expand(b, n)
    late = place / sizes
    role = draws.uniform(b, 1)
    allowed = torch.where(role < 0.6, late >= 0.7, torch.where(role < 0.8, late < 0.4, late >= 0))
    constant = nodes.amax(2) - nodes.amin(2) < 1e-3
    outside = (place >= sizes).float() * 10 + constant.float() * 5
    key = draws.uniform(b, n) + (~allowed).float() * 2 + outside
    target = key.topk(targets, largest=False).indices
    start = draws.uniform(b, 1)
    near = torch.remainder(late - start, 1.0) + 0.02 * draws.uniform(b, n)
    key = torch.where(draws.chance(0.3, b, 1), near, draws.uniform(b, n)) + outside
    key = key.scatter(1, target, 20.0)
    return torch.cat([target, key.topk(features, largest=False).indices], 1)


def network_scores(draws: Draws, z: Tensor, targets: int) -> Tensor:
    """Scores [B, S, R] of a noiseless random network over columns z [B, F, R]."""
    b = len(z)
    width = 4 + int(draws.host.gamma(1.5, 12.0))
    kinds = choose(draws, b, 2, width)
    x = z
    for layer in range(1 + int(draws.host.integers(0, 2))):
        x = standardise(draws.normal(b, width, x.shape[1]) @ x)
        gain = draws.log_uniform(b, 1, 1, low=0.3, high=3.0)
        x = activate(draws, x * gain + 0.7 * draws.normal(b, width, 1), kinds[:, layer])
    return draws.normal(b, targets, width) @ x
