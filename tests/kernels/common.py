"""What tests of kernels share: bounds, and a process in which Triton interprets.

Triton decides at its import whether it interprets, so its tests are files that ``launch`` runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
BOUNDS = {torch.float32: 0.002, torch.float16: 0.002, torch.bfloat16: 0.005}


def expect_close(made, wanted, dtype):
    """As far apart as ``dtype`` allows, by the root of the mean square."""
    assert made.shape == wanted.shape
    assert torch.isfinite(made).all()
    error = (made.double() - wanted).square().mean().sqrt()
    assert error <= BOUNDS[dtype] * wanted.square().mean().sqrt()


def doubled(*tensors):
    return [t.double() if t is not None and t.is_floating_point() else t for t in tensors]


def launch(file, device):
    """Run the tests of ``file`` on ``device``; how many passed."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("triton", reason="there is no Triton on this platform")
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", HERE / file],
        env={**os.environ, "DEVICE": device, "TRITON_INTERPRET": str(int(device == "cpu"))},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout.count(".")
