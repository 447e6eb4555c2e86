"""Async tests without a plugin: each runs on an event loop of its own."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable


def awaited(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make an async test one that pytest runs; its fixtures stay as they are."""

    @functools.wraps(test)
    def sync(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return sync
