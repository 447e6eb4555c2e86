"""Real servers, and ``benchmarks`` importable: it is not installed, and lies beside ``tests``."""

from __future__ import annotations

import sys
from pathlib import Path

import grpc
import pytest

from tests.serving import serving

sys.path.append(str(Path(__file__).resolve().parents[2]))  # last, so that no room shadows a package


@pytest.fixture(scope="module")
def server():
    """Two workers with the bundled models."""
    with serving(workers=2) as running:
        yield running


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.address) as opened:
        yield opened
