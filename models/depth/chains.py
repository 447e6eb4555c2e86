"""Chains: which layers a token passes, in which order; layers may be left out and repeated.

Li et al. 2025, Skip a Layer or Loop it?, section 3: a chain is edited by skipping a block of layers
and by repeating one. The final norm and the head follow every chain.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from foretoken.errors import InvalidInput

__all__ = ["Chain", "edited", "expect_chain", "full", "repeated", "skipped"]

Chain = tuple[int, ...]
BLOCK = REPEATS = 4  # layers of a block, and times that it comes again, at most


def full(layers: int) -> Chain:
    """Every layer once, in order: the model as it was trained."""
    return tuple(range(layers))


def expect_chain(chain: Sequence[int], layers: int, longest: int) -> Chain:
    """The chain, if a model can run it.

    Args:
        chain: indices of layers.
        layers: of the model.
        longest: the most indices that a chain may have.

    Raises:
        InvalidInput: it is empty or too long, or names a layer that there is not.
    """
    if not 1 <= len(chain) <= longest:
        raise InvalidInput(f"a chain has 1 to {longest} layers, not {len(chain)}")
    for position, layer in enumerate(chain):
        if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < layers:
            raise InvalidInput(
                f"chain position {position} is {layer!r}; layers are 0 to {layers - 1}"
            )
    return tuple(chain)


def skipped(chain: Chain, at: int, block: int) -> Chain:
    """Without the ``block`` layers from position ``at`` on."""
    return chain[:at] + chain[at + block :]


def repeated(chain: Chain, at: int, block: int, times: int) -> Chain:
    """With the ``block`` layers from position ``at`` on ``times`` more times, right after them."""
    end = at + block
    return chain[:end] + chain[at:end] * times + chain[end:]


def edited(chain: Chain, edits: int, longest: int, rng: random.Random) -> Chain:
    """The chain after random edits: skips and repeats, as likely, of blocks of any size and place.

    Args:
        chain: to begin with.
        edits: how many are tried; one that would leave no layer or too many is left out.
        longest: the most layers of the result.
        rng: that draws them.
    """
    for _ in range(edits):
        block = rng.randint(1, min(BLOCK, len(chain)))
        at = rng.randint(0, len(chain) - block)
        again = rng.randint(1, REPEATS)
        skip = rng.random() < 0.5
        after = skipped(chain, at, block) if skip else repeated(chain, at, block, again)
        if 1 <= len(after) <= longest:
            chain = after
    return chain
