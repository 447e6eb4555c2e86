"""``python -m tests.proto.update``: today's definitions are what later ones are compared with."""

from __future__ import annotations

import shutil
from pathlib import Path

from foretoken.proto.generate import HOME, packages


def main() -> None:
    golden = Path(__file__).parent / "golden"
    shutil.rmtree(golden, ignore_errors=True)
    golden.mkdir()
    for package in packages():
        shutil.copyfile(HOME / f"{package}.binpb", golden / f"{package}.binpb")


if __name__ == "__main__":
    main()
