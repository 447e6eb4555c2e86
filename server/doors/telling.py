"""What callers are told: errors and reasons as they are, but for where this server keeps its data.

The log has every text in full.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

__all__ = ["Tell", "telling"]

PLACE = "DATA_DIR"

Tell: TypeAlias = Callable[[str], str]


def telling(data_dir: Path) -> Tell:
    """What makes texts fit for callers: the path of the data dir is ``DATA_DIR`` in them."""
    # A relative path tells nothing of the machine, and may be any word.
    forms = {str(path) for path in (data_dir.absolute(), data_dir.resolve()) if path.name}
    if not forms:
        return str  # the root of all paths hides nothing
    longest = sorted(forms, key=len, reverse=True)
    path = re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, longest))})(?![\w-])")
    return lambda text: path.sub(PLACE, text)
