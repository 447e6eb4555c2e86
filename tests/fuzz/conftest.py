"""One server for all of them."""

from __future__ import annotations

import pytest

from tests.serving import serving


@pytest.fixture(scope="module")
def server():
    with serving(env={"FORETOKEN_MESSAGE_BYTES": str(1 << 20)}) as running:
        yield running
