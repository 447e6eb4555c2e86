"""Shares and counts over problems and chains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.depth.problems import Problem
from foretoken.models.depth.chains import Chain
from foretoken.models.depth.requests import SearchReply

__all__ = ["WITHIN", "found_within", "histogram", "saved", "shares", "usage"]

WITHIN = (1, 2, 5, 10, 20, 50, 100, 200)  # chains tried, by which shares are told


def shares(problems: Sequence[Problem], which: Sequence[bool]) -> dict[str, Any]:
    """The share of problems of which something is so, in all and by level, and of how many."""
    levels: dict[str, list[bool]] = {}
    for problem, so in zip(problems, which, strict=True):
        levels.setdefault(problem.level, []).append(so)
    by_level = {name: {"share": sum(x) / len(x), "of": len(x)} for name, x in levels.items()}
    whole = sum(which) / len(which) if which else None
    return {"share": whole, "of": len(which), "levels": dict(sorted(by_level.items()))}


def saved(reply: SearchReply) -> int:
    """Layers that the best chain has less than the whole one."""
    return reply.layers - len(reply.best.chain)


def found_within(tried: Sequence[SearchReply] | Sequence[Sequence[bool]]) -> dict[str, float]:
    """By how many chains were tried: the share of problems for which one of those was right."""
    firsts = []
    for each in tried:
        rights = [t.reward > 0 for t in each.tried] if isinstance(each, SearchReply) else each
        firsts.append(next((i for i, ok in enumerate(rights, 1) if ok), None))
    n = max(1, len(firsts))
    return {str(k): sum(f is not None and f <= k for f in firsts) / n for k in WITHIN}


def histogram(chains: Sequence[Chain]) -> dict[str, int]:
    """How many chains there are of each length."""
    return {str(n): count for n, count in sorted(Counter(map(len, chains)).items())}


def usage(chains: Sequence[Chain], layers: int) -> list[dict[str, float]]:
    """By layer: the mean times that a chain runs it, and shares that skip it and repeat it."""
    n = max(1, len(chains))
    counted = [[chain.count(layer) for chain in chains] for layer in range(layers)]
    return [
        {
            "times": sum(times) / n,
            "skipped": sum(t == 0 for t in times) / n,
            "repeated": sum(t > 1 for t in times) / n,
        }
        for times in counted
    ]
