"""The engine decodes by the Triton kernels as it does by plain torch."""

from __future__ import annotations

import pytest

from tests.kernels.common import DEVICES, launch


@pytest.mark.parametrize("device", DEVICES)
def test_kernels_decode_as_plain_torch_does(device):
    assert launch("kernel_generation.py", device) == 2
