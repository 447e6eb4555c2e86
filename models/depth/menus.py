"""Menus: a few chains chosen on labelled rows, and how well others are answered by them.

Letters: n rows, C chains, K of them on the menu.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array, Config
from foretoken.models.depth.chains import Chain, expect_chain, full
from foretoken.models.depth.chooser import Chooser
from foretoken.models.depth.requests import SearchReply

__all__ = ["SIZES", "Menu", "agreed", "candidates", "chosen", "figures", "menu_of"]

SIZES = (1, 10, 100)  # K of which "any" is told
RIGHT = 0.5  # a reward above which an answer counts as right


@dataclass(frozen=True)
class Menu:
    """Of a version.

    Args:
        chains: K of them, the one that was right most often first.
        short: tokens that each runs when they are to agree on an answer.
        chooser: that says which one instead, if there is one.
    """

    chains: tuple[Chain, ...]
    short: int
    chooser: Chooser | None = None

    def said(self) -> dict[str, Any]:
        """What a version's config says of it, under "menu"."""
        return {
            "chains": [list(chain) for chain in self.chains],
            "short": self.short,
            "chooser": None if self.chooser is None else self.chooser.said(),
        }


def menu_of(config: Config, layers: int, longest: int) -> Menu | None:
    """The menu that a version's config has, if it has one.

    Raises:
        InvalidInput: it is none that the model can run.
    """
    said: Mapping[str, Any] | None = config.get("menu")
    if said is None:
        return None
    try:
        chains = tuple(expect_chain(chain, layers, longest) for chain in said["chains"])
        short, chooser = int(said["short"]), said["chooser"]
        found = None if chooser is None else Chooser.of(chooser, len(chains))
    except (KeyError, TypeError, ValueError) as e:
        raise InvalidInput(f"the config's menu cannot be used: {e}") from e
    if not chains or short < 1:
        raise InvalidInput("a menu has chains, and at least one token for them to agree on")
    return Menu(chains, short, found)


def agreed(answers: Sequence[Hashable]) -> int:
    """Which of the answers is the one that most chains give; of those that as many do, the first.

    Args:
        answers: of each chain, in the order of the menu.
    """
    counted = Counter(answers)
    return max(range(len(answers)), key=lambda i: (counted[answers[i]], -i))


def candidates(found: Sequence[SearchReply], most: int) -> tuple[Chain, ...]:
    """The whole chain, and those that searches found right for most rows; of equal ones, shorter.

    Args:
        found: by row; at least one.
        most: how many.
    """
    counted = Counter(t.chain for reply in found for t in reply.tried if t.reward > RIGHT)
    whole = full(found[0].layers)
    ranked = sorted(counted, key=lambda chain: (-counted[chain], len(chain), chain))
    return tuple(dict.fromkeys((whole, *ranked)))[:most]


def chosen(chains: Sequence[Chain], right: Array, most: int) -> list[int]:
    """Which chains become the menu: greedily, the one that answers most rows not yet answered.

    Of those that answer as many, the shorter; of those, the first. When no other row can be
    answered, all rows are open again.

    Args:
        chains: C of them.
        right: bool [n, C], by row and chain.
        most: K, at most.

    Returns:
        Places among ``chains``, in the order in which they were chosen; none that is never right,
        unless all are.
    """
    menu: list[int] = []
    left = [c for c in range(len(chains)) if right[:, c].any()] or [0]
    open_ = np.ones(len(right), bool)
    while left and len(menu) < most:
        gains = {c: int(right[open_, c].sum()) for c in left}
        if not any(gains.values()) and not open_.all():
            open_[:] = True
            continue
        best = min(left, key=lambda c: (-gains[c], len(chains[c])))
        menu.append(best)
        left.remove(best)
        open_ &= ~right[:, best]
    return menu


def figures(
    plain: Array,
    right: Array,
    answers: Sequence[Sequence[Hashable]],
    choices: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Shares of held-out rows that are answered right.

    Args:
        plain: bool [n], by the whole chain.
        right: bool [n, K], by each chain of the menu.
        answers: n times K, what each chain gives to agree on.
        choices: places in the menu that a chooser named, n of them, if there is one.

    Returns:
        "plain"; "single", the menu's first chain; "any" of the first k right, by k; "agreement";
        "chooser", None without one.
    """
    n, K = right.shape
    rows = np.arange(n)
    sizes = sorted({k for k in SIZES if k < K} | {K})
    voted = [agreed(each) for each in answers]
    return {
        "plain": float(plain.mean()),
        "single": float(right[:, 0].mean()),
        "any": {str(k): float(right[:, :k].any(axis=1).mean()) for k in sizes},
        "agreement": float(right[rows, voted].mean()),
        "chooser": None if choices is None else float(right[rows, choices].mean()),
    }
