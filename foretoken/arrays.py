"""Arrays from what callers bring."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.errors import InvalidInput

__all__ = ["floats"]


def floats(name: str, given: ArrayLike) -> NDArray[np.float64]:
    """``given`` as float64; a single number as [1].

    Raises:
        InvalidInput: naming ``name``, if it holds anything but numbers.
    """
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError) as e:
        raise InvalidInput(f"{name} must be numbers, not {given!r}") from e
    return array.reshape(-1) if array.ndim == 0 else array
