"""Room for an array that may be larger than the memory."""

from __future__ import annotations

import math
import os
import tempfile

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import Unavailable

__all__ = ["scratch"]

LARGE = 1 << 28  # bytes from which an array lies in a file


def scratch(shape: tuple[int, ...], large: int = LARGE) -> NDArray[np.float32]:
    """Zeros, float32; from ``large`` bytes on in an unnamed file, whose pages may leave the memory.

    Raises:
        Unavailable: if there is no room for the file.
    """
    size = 4 * math.prod(shape)
    if size < large:
        return np.zeros(shape, np.float32)
    try:
        with tempfile.TemporaryFile() as file:
            # Reserved at once: of a disk that fills up later, the process would die.
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.float32, "r+", shape=shape)
    except OSError as e:
        raise Unavailable(
            f"no room for {size} bytes in {tempfile.gettempdir()}: {e.strerror or e}; make some, "
            "name another folder by TMPDIR, or embed in fewer dimensions"
        ) from e
