"""Runs every benchmark of this folder, one process each: ``python -m benchmarks [NAME ...]``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def names() -> list[str]:
    """All benchmarks: the modules here that have a ``main``."""
    files = sorted(HERE.glob("[!_]*.py"))
    return [f.stem for f in files if "\ndef main(" in f.read_text("utf-8")]


if __name__ == "__main__":
    chosen = sys.argv[1:] or names()
    if unknown := set(chosen) - set(names()):
        listed = ", ".join(names())
        raise SystemExit(f"no benchmark {', '.join(sorted(unknown))}; there are {listed}")
    failed = [n for n in chosen if subprocess.call([sys.executable, "-m", f"benchmarks.{n}"])]
    raise SystemExit(f"failed: {', '.join(failed)}" if failed else 0)
