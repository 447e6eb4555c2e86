"""How many of the requests that decode are in a batch, by the rule that says which layer is next.

``python -m benchmarks.turns``

No model is run: requests pass chains token after token for ever, and batches are counted. Every
turn reads a layer's weights once, so where these are what takes time, the share of the requests
that a turn serves is the share of the throughput of one chain for all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import cast

from benchmarks.common import keep
from foretoken.models.depth.chains import Chain, edited, full
from foretoken.server.engine.generation.decoding import Decoding
from foretoken.server.engine.generation.generator import Sizes
from foretoken.server.engine.generation.scheduler import Scheduler

TURNS = 6000
LAYERS, REQUESTS = (8, 24), (4, 8, 32)


class LongestWait(Scheduler):
    """Of the layers that as many need, that of whoever has waited longest."""

    def rule(self, by_layer: Mapping[int, Sequence[Decoding]]) -> int:
        """See ``Scheduler.rule``."""
        return max(by_layer, key=lambda n: (len(by_layer[n]), max(x.waited for x in by_layer[n])))


class Lowest(Scheduler):
    """The lowest layer that anybody needs."""

    def rule(self, by_layer: Mapping[int, Sequence[Decoding]]) -> int:
        """See ``Scheduler.rule``."""
        return min(by_layer)


RULES = {
    "most, then lowest": Scheduler,
    "most, then longest wait": LongestWait,
    "lowest": Lowest,
}


def chains(layers: int) -> Mapping[str, Callable[[int, random.Random], Chain]]:
    """Chains by kind: of the i-th request."""
    whole = full(layers)
    looped = tuple(n for n in whole for _ in range(2 if n in (2, 3) else 1))
    return {
        "full, half of them with one edit": lambda i, rng: edited(whole, i % 2, 2 * layers, rng),
        "three edits each": lambda _i, rng: edited(whole, 3, 2 * layers, rng),
        "two kinds": lambda i, _rng: whole if i % 2 else looped,
        "random": lambda _i, rng: tuple(rng.randrange(layers) for _ in whole),
    }


def share(rule: type[Scheduler], taken: Sequence[Chain], layers: int) -> float:
    """Of the requests, in a mean turn."""
    scheduler = rule(layers, Sizes.tokens, Sizes.patience)
    every = [SimpleNamespace(work=SimpleNamespace(chain=c), at=0, waited=0, count=1) for c in taken]
    served = 0
    for _ in range(TURNS):
        _, batch = scheduler.choose(cast("list[Decoding]", every))
        served += len(batch)
        for one in batch:
            one.at = (one.at + 1) % (len(one.work.chain) + 1)  # the head is the last
    return served / TURNS / len(every)


def main() -> None:
    """Count, print, keep."""
    rows = []
    for layers in LAYERS:
        for kind, chain in chains(layers).items():
            for n in REQUESTS:
                rng = random.Random(n)
                taken = [chain(i, rng) for i in range(n)]
                found = {name: share(rule, taken, layers) for name, rule in RULES.items()}
                rows.append({"layers": layers, "chains": kind, "requests": n, "share": found})
                told = "  ".join(f"{name} {value:.2f}" for name, value in found.items())
                print(f"{layers:3} layers  {kind:33} {n:3} requests  {told}")
    keep("turns", {"turns": TURNS, "rows": rows})


if __name__ == "__main__":
    main()
