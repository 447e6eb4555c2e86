"""Makes ``benchmarks`` importable: it is not installed, and lies beside ``tests``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # last, so that no room shadows a package
