"""Workers among themselves."""

from __future__ import annotations

import asyncio
import json
import os
import time

import pytest

from foretoken.errors import DataLoss
from foretoken.server.log import Log
from foretoken.server.processes import peers as module
from foretoken.server.processes.peers import Peers, socket_of


class Follower:
    def __init__(self, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.times = 0
        self._seconds = seconds
        self._error = error

    async def __call__(self) -> None:
        await asyncio.sleep(self._seconds)
        if self._error is not None:
            raise self._error
        self.times += 1


@pytest.fixture
def log(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        log = Log(fd=file.fileno())
        log.path = tmp_path / "log"
        yield log
        log.close()


def said(log) -> list[str]:
    log.close()
    return [json.loads(line)["event"] for line in log.path.read_text().splitlines()]


async def followed(run, log, *followers: Follower) -> float:
    peers = [Peers(run, number, follower, log) for number, follower in enumerate(followers)]
    for peer in peers:
        await peer.start()
    began = time.monotonic()
    try:
        await peers[0].follow()
    finally:
        for peer in peers:
            await peer.stop()
    return time.monotonic() - began


def test_all_have_followed_when_one_returns(tmp_path, log):
    followers = [Follower(0.05) for _ in range(4)]
    seconds = asyncio.run(followed(tmp_path, log, *followers))
    assert [follower.times for follower in followers] == [1] * 4
    assert seconds < module.PATIENCE
    assert list(tmp_path.glob("*.sock")) == []
    assert said(log) == []


def test_the_dead_are_left_out(tmp_path, log):
    socket_of(tmp_path, 7).touch()
    dead = asyncio.run(_bound_and_left(tmp_path / "worker-8.sock"))
    follower = Follower()
    assert asyncio.run(followed(tmp_path, log, follower)) < module.PATIENCE
    assert follower.times == 1
    assert dead.exists()


async def _bound_and_left(path):
    import socket

    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    return path


def test_the_slow_are_waited_for_no_longer_than_agreed(tmp_path, log, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    seconds = asyncio.run(followed(tmp_path, log, Follower(), Follower(30.0)))
    assert 0.2 <= seconds < 10.0
    assert "peer_failed" in said(log)


def test_one_that_cannot_follow_says_so_and_stops_nobody(tmp_path, log):
    good = Follower()
    asyncio.run(followed(tmp_path, log, Follower(), Follower(error=DataLoss("broken")), good))
    assert good.times == 1
    assert set(said(log)) == {"peer_refused", "peer_failed"}


def test_what_nobody_answers_to_is_refused(tmp_path, log):
    async def ask() -> bytes:
        peer = Peers(tmp_path, 1, Follower(), log)
        await peer.start()
        reader, writer = await asyncio.open_unix_connection(str(socket_of(tmp_path, 1)))
        writer.write(b"shut down\n")
        answer = await reader.read()
        writer.close()
        await peer.stop()
        return answer

    assert asyncio.run(ask()) == b"failed\n"


def test_folders_with_long_names_do(tmp_path, log):
    run = tmp_path / ("x" * 90) / ("y" * 90)
    run.mkdir(parents=True)
    assert len(os.fsencode(socket_of(run, 0))) > 108
    followers = Follower(), Follower()
    asyncio.run(followed(run, log, *followers))
    assert [follower.times for follower in followers] == [1, 1]
