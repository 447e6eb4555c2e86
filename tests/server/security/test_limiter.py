"""Rate limits hold to the call, across processes, and whatever dies meanwhile."""

from __future__ import annotations

import fcntl
import math
import multiprocessing
import os
import signal
import struct
import time

import pytest

from foretoken.errors import Unavailable
from foretoken.server.security.limiter import Limit, Limiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(tmp_path, clock):
    limiter = Limiter(tmp_path / "run" / "limits", clock)
    yield limiter
    limiter.close()


def granted(limiter: Limiter, limit: Limit, tries: int) -> int:
    return sum(limiter.take(limit) == 0 for _ in range(tries))


def test_a_burst_and_then_the_rate(limiter, clock):
    limit = Limit(1, rate=4, burst=3)
    assert granted(limiter, limit, 10) == 3
    assert limiter.take(limit) == pytest.approx(0.25)
    clock.now += 0.125
    assert limiter.take(limit) == pytest.approx(0.125), "a refused call does not count"
    clock.now += 0.125
    assert granted(limiter, limit, 10) == 1
    clock.now += 100
    assert granted(limiter, limit, 10) == 3, "a pause earns a burst and no more"


def test_over_time_it_is_the_rate(limiter, clock):
    limit, made, steps = Limit(7, rate=10, burst=2), 0, 10_000
    for _ in range(steps):
        made += limiter.take(limit) == 0
        clock.now += 0.01
    assert made == pytest.approx(steps * 0.01 * 10, abs=2)


def test_less_than_a_call_a_second(limiter, clock):
    limit = Limit(1, rate=0.1, burst=1)
    assert granted(limiter, limit, 3) == 1
    clock.now += 9.9
    assert limiter.take(limit) == pytest.approx(0.1)
    clock.now += 0.2
    assert granted(limiter, limit, 3) == 1


def test_limits_are_strangers_to_each_other_and_the_file_grows(limiter, tmp_path):
    limits = [Limit(slot, rate=1, burst=2) for slot in (1, 2, 511, 512, 513, 5000)]
    other = Limiter(tmp_path / "run" / "limits", limiter._clock)  # maps it as small as it was
    assert [granted(limiter, limit, 5) for limit in limits] == [2] * 6
    assert [granted(other, limit, 5) for limit in limits] == [0] * 6
    assert granted(other, Limit(50_000, 1, 2), 5) == 2
    assert granted(limiter, Limit(50_000, 1, 2), 5) == 0
    size = (tmp_path / "run" / "limits").stat().st_size
    Limiter(tmp_path / "run" / "limits").close()
    assert (tmp_path / "run" / "limits").stat().st_size == size, "it is never cut short"
    other.close()


@pytest.mark.parametrize("left", [math.inf, math.nan, 1e9, -math.inf])
def test_numbers_that_no_call_has_written_count_for_nothing(limiter, tmp_path, left):
    """As after a reboot, which sets the clock back."""
    limit = Limit(3, rate=1, burst=2)
    assert limiter.take(limit) == 0
    with (tmp_path / "run" / "limits").open("r+b") as file:
        file.seek(24)
        file.write(struct.pack("d", left))
    assert granted(limiter, limit, 5) == 2


def test_a_file_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(Unavailable, match="rate limits"):
        Limiter(tmp_path / "run" / "limits")


def _hammer(path, limit, barrier, tries, made):
    limiter = Limiter(path, lambda: 5.0)  # no time passes, so that the count is exact
    barrier.wait()
    made.put(granted(limiter, limit, tries))
    limiter.close()


def test_several_processes_share_a_limit_to_the_call(tmp_path):
    context = multiprocessing.get_context("fork")
    limit, processes, tries = Limit(1, rate=100, burst=20_000), 4, 10_000
    barrier, made = context.Barrier(processes), context.Queue()
    arguments = (tmp_path / "limits", limit, barrier, tries, made)
    children = [context.Process(target=_hammer, args=arguments) for _ in range(processes)]
    for child in children:
        child.start()
    counts = [made.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
    assert sum(counts) == 20_000


def _hold(path, ready):
    limiter = Limiter(path)
    limiter.take(Limit(1, 1, 1))
    fcntl.lockf(limiter._file, fcntl.LOCK_EX, 8, 8)  # as in the midst of a call
    ready.set()
    time.sleep(60)


def test_a_process_that_is_killed_within_a_call_holds_nobody_up(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=_hold, args=(tmp_path / "limits", ready))
    child.start()
    assert ready.wait(30)
    with (tmp_path / "limits").open("r+b") as file, pytest.raises(BlockingIOError):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 8, 8)
    os.kill(child.pid, signal.SIGKILL)
    child.join(30)
    limiter = Limiter(tmp_path / "limits")
    began = time.monotonic()
    assert limiter.take(Limit(1, 1, 1)) > 0, "and its call still counts"
    assert time.monotonic() - began < 20
    limiter.close()
