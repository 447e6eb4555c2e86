"""Menus chosen on one half of the problems, and measured on the other, which that never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.depth.problems import Problem
from benchmarks.depth.trying import Tries
from foretoken.models.cola.vocabulary import VOCABULARY
from foretoken.models.depth.chains import full
from foretoken.models.depth.chooser import fitted
from foretoken.models.depth.menus import candidates, chosen, figures
from foretoken.models.depth.requests import SearchReply

__all__ = ["menus"]


def menus(
    tries: Tries,
    problems: Sequence[Problem],
    searched: Mapping[Problem, SearchReply],
    sizes: Sequence[int],
    most: int,
) -> dict[str, Any]:
    """Figures on the other half, by size of the menu.

    Args:
        tries: of the model.
        problems: in random order, right and wrong ones as they come.
        searched: what searches found, of problems in any half; only those in the first are used.
        sizes: K of the menus.
        most: candidates.
    """
    half = len(problems) // 2
    own, held = problems[:half], problems[half:]
    found = [searched[problem] for problem in own if problem in searched]
    every = candidates(found, most)
    right = np.array(tries.right(own, [every] * len(own)), bool)
    menu = chosen(every, right, max(sizes))
    chains = [every[c] for c in menu]
    whole = full(found[0].layers)
    plain = np.array([ok for (ok,) in tries.right(held, [[whole]] * len(held))], bool)
    answers = tries.answers(held, chains)
    pairs = zip(answers, held, strict=True)
    correct = np.array([[said == (p.answer, True) for said in own] for own, p in pairs], bool)
    ids = [[VOCABULARY.encode(p.prompt) for p in part] for part in (own, held)]
    by_size = {}
    for K in sizes:
        if len(chains) < K:
            continue
        chooser = fitted(ids[0], right[:, menu[:K]])
        choices = None if chooser is None else [chooser.choice(each) for each in ids[1]]
        said = figures(plain, correct[:, :K], [each[:K] for each in answers], choices)
        by_size[str(K)] = {**said, "any": said["any"][str(K)]}
    return {
        "chosen_by": len(own),
        "searched": len(found),
        "held_out": len(held),
        "candidates": len(every),
        "first": list(chains[0]),
        "sizes": by_size,
    }
