"""Threads that compute give way to the event loop's, however the server was started."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from foretoken.server.loading import BULK, NICE, yielding


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities by thread")
def test_threads_give_way_to_a_process_that_gives_way_itself():
    def started(more: int) -> tuple[int, int, int]:
        """Priorities of a thread that begins pools, and of theirs."""
        here = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, here, nice() + more)
        with (
            ThreadPoolExecutor(1, initializer=yielding) as pool,
            ThreadPoolExecutor(1, initializer=yielding, initargs=(BULK,)) as bulk,
        ):
            return nice(), pool.submit(nice).result(), bulk.submit(nice).result()

    for more in (0, 2, 8):
        with ThreadPoolExecutor(1) as thread:
            own, pool, bulk = thread.submit(started, more).result()
        assert pool == min(own + NICE, 19)
        assert bulk == min(own + BULK, 19)
