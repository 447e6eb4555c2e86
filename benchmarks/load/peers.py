"""Other projects' programs, each in an environment of its own: ``python -m benchmarks.load.peers``.

All of them, or those that are named, are installed under ``.peers/`` by pip; perf_analyzer, which
ships inside tritonclient's wheel, also needs a library of Debian's, which is taken from its package
without installing it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / ".peers"
MLSERVER = HOME / "mlserver" / "bin" / "mlserver"
TRITON = HOME / "tritonclient" / "bin" / "python"
PERF_ANALYZER = HOME / "tritonclient" / "bin" / "perf_analyzer"
ABSENT = "peers are not installed; `python -m benchmarks.load.peers` installs them under .peers/"
PACKAGES = {
    "mlserver": ("mlserver==1.7.1",),
    "pecanpy": ("pecanpy==2.0.9",),
    "sentence-transformers": ("sentence-transformers==6.2.0", "torch==2.13.0"),
    # The newest that optimum, which exports its graph, goes with.
    "sentence-transformers-onnx": ("sentence-transformers[onnx]==5.7.0", "torch==2.13.0"),
    "tritonclient": ("tritonclient[grpc]==2.46.0", "nvidia-cuda-runtime-cu12"),
}
LIBRARIES = HOME / "lib"
DEBIAN = "libb64-0d"


def environment() -> dict[str, str]:
    """Variables with which perf_analyzer finds its libraries."""
    cuda = (HOME / "tritonclient").glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")
    folders = [*LIBRARIES.glob("usr/lib/*"), *cuda]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, folders))}


def install(names: Collection[str] = PACKAGES) -> None:
    """Make every environment of these that is not there yet."""
    for name, packages in PACKAGES.items():
        if name not in names:
            continue
        home = HOME / name
        if (home / ".complete").exists():
            continue
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", *packages], check=True)
        (home / ".complete").touch()
    if "tritonclient" in names and not LIBRARIES.exists():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["apt-get", "download", DEBIAN], cwd=folder, check=True)
            (package,) = Path(folder).glob(f"{DEBIAN}_*.deb")
            subprocess.run(["dpkg-deb", "-x", package, LIBRARIES], check=True)


if __name__ == "__main__":
    chosen = sys.argv[1:] or list(PACKAGES)
    if unknown := set(chosen) - set(PACKAGES):
        raise SystemExit(f"no {', '.join(sorted(unknown))}; there are {', '.join(PACKAGES)}")
    install(chosen)
    print(f"{', '.join(chosen)} are in {HOME.name}/")
