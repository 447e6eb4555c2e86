"""Toy families where the catalog finds them: a server and its subprocesses can serve them.

::

    with toy_families(tmp_path) as env:  # variables for subprocesses
        registry.register("toy", published("in_context"))
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foretoken.models import catalog
from tests.toys import TOYS

__all__ = ["toy_families"]

PACKAGE = "foretoken_families"  # a namespace to which anybody may add
ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def toy_families(folder: Path) -> Iterator[dict[str, str]]:
    """Have the catalog find the toys, here and in subprocesses that get the variables yielded."""
    site = folder / "site"
    for name in TOYS:
        package = site / PACKAGE / name
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text(f"from tests.toys.{name} import FAMILY as FAMILY\n")
    path = sys.path.copy()
    sys.path.insert(0, str(site))
    catalog.families.cache_clear()
    try:
        inherited = os.environ.get("PYTHONPATH", "")
        paths = [str(site), str(ROOT), *([inherited] if inherited else [])]
        yield {"PYTHONPATH": os.pathsep.join(paths)}
    finally:
        sys.path[:] = path
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        catalog.families.cache_clear()
