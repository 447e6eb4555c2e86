"""What keys and values depend on, as content: the chain up to their position, and the tokens.

Those of a chain's position p depend on the layers at its positions 0 to p and on the tokens up to
their own, and on nothing else of the request.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b

__all__ = ["Key", "extended", "roots"]

Key = tuple[bytes, bytes]  # of a block: its chain up to a position, its tokens and all before
START = b""
SIZE = 16  # bytes of a digest


def roots(chain: Sequence[int], owner: str = "") -> list[bytes]:
    """A digest for each position of a chain, of the layers up to there.

    Args:
        chain: indices of layers.
        owner: whose requests share; others' are never equal.
    """
    digest = blake2b(owner.encode(), digest_size=SIZE)
    found = []
    for layer in chain:
        digest.update(layer.to_bytes(4, "little"))
        found.append(digest.digest())
    return found


def extended(digests: list[bytes], tokens: Sequence[int], size: int) -> None:
    """Add to ``digests``, one for each full block of tokens, those of blocks that are full by now.

    Args:
        digests: of the first blocks; each speaks for all tokens before, too.
        tokens: of a request, those before included.
        size: tokens of a block.
    """
    for block in range(len(digests), len(tokens) // size):
        before = digests[-1] if digests else START
        own = array("q", tokens[block * size : (block + 1) * size]).tobytes()
        digests.append(blake2b(own, digest_size=SIZE, key=before).digest())
