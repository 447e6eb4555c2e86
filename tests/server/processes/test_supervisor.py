"""The supervisor alone, over workers that serve nothing and fail on demand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.serving import alive, children_of

SCRIPT = Path(__file__).with_name("supervised.py")
PATIENCE = 20.0


class Supervised:
    def __init__(self, folder: Path, workers: int = 2, drain: float = 1.0) -> None:
        self.config = folder / "settings.toml"
        self.how = folder / "how"
        self.log = folder / "log"
        self._fixed = {"data_dir": str(folder / "data"), "grpc_port": 0, "http_port": 0}
        self._fixed |= {"workers": workers, "drain": drain}
        self.configure()
        self.do("ready")

    def configure(self, **settings) -> None:
        lines = [
            f"{name} = {json.dumps(value)}" for name, value in (self._fixed | settings).items()
        ]
        self.config.write_text("\n".join(lines))

    def do(self, how: str) -> None:
        self.how.write_text(how)

    def start(self) -> str:
        """Start it; returns the first line that it prints."""
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self.config), str(self.how)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log.open("wb"),
            text=True,
        )
        return self.process.stdout.readline()

    @property
    def workers(self) -> list[int]:
        return children_of(self.process.pid)

    def events(self, name: str) -> list[dict]:
        records = [
            json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"
        ]
        return [record for record in records if record["event"] == name]

    def hangup(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@pytest.fixture
def supervised(tmp_path):
    one = Supervised(tmp_path)
    yield one
    seen = []
    if one.process.poll() is None:
        seen = one.workers
        one.process.kill()
    one.process.wait()
    until(lambda: not any(map(alive, seen)))
    one.process.stdout.close()


def until(condition, patience: float = PATIENCE):
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def test_it_is_ready_with_all_workers_and_ends_cleanly_with_them(supervised):
    assert supervised.start().startswith("READY [{'name': 'm'")
    workers = supervised.workers
    assert len(workers) == 2
    assert supervised.stop() == 0
    assert not any(map(alive, workers))
    assert not (supervised.config.parent / "data" / "run").exists()


def test_a_dead_worker_is_replaced_and_the_others_are_left_alone(supervised):
    supervised.start()
    first, second = supervised.workers
    began = time.monotonic()
    os.kill(first, signal.SIGKILL)
    until(lambda: len(supervised.events("worker_started")) == 3 and len(supervised.workers) == 2)
    assert time.monotonic() - began < 10.0
    assert second in supervised.workers
    assert first not in supervised.workers
    (ended,) = until(lambda: supervised.events("worker_ended"))
    assert (ended["how"], ended["level"]) == ("signal SIGKILL", "error")


def test_one_that_cannot_start_ends_the_start_with_its_reason(supervised):
    supervised.do("refuse")
    assert supervised.start() == "REFUSED InvalidInput the queue is too short\n"
    assert supervised.process.wait(PATIENCE) == 1


def test_crashes_at_the_start_are_tried_again_a_few_times(supervised):
    supervised.do("crash")
    said = supervised.start()
    assert said.startswith("REFUSED Unavailable workers die at the start")
    assert "SIGKILL" in said
    assert supervised.process.wait(PATIENCE) == 1
    assert 4 <= len(supervised.events("worker_started")) <= 6


def test_a_running_server_outlives_workers_that_cannot_start_now(supervised):
    supervised.start()
    first, _ = supervised.workers
    supervised.do("crash")
    os.kill(first, signal.SIGKILL)
    until(lambda: len(supervised.events("worker_started")) >= 5)
    waits = [event["wait"] for event in supervised.events("worker_replaced")]
    assert waits[:3] == [0.0, 0.5, 1.0]
    supervised.do("ready")
    until(lambda: len(supervised.workers) == 2)
    assert supervised.stop() == 0


def test_workers_end_when_the_supervisor_is_killed(supervised):
    supervised.start()
    workers = supervised.workers
    supervised.process.kill()
    supervised.process.wait()
    until(lambda: not any(map(alive, workers)), patience=5.0)


def test_new_settings_renew_every_worker_one_by_one(supervised):
    supervised.start()
    before = set(supervised.workers)
    supervised.configure(queue=77)
    supervised.hangup()
    until(lambda: len(supervised.workers) == 2 and not before & set(supervised.workers))
    (read,) = until(lambda: supervised.events("settings_read"))
    assert read["changed"] == {"queue": 77}
    assert supervised.stop() == 0
    assert {event["how"] for event in supervised.events("worker_ended")} == {"exit status 0"}


def test_the_number_of_workers_can_change(supervised):
    supervised.start()
    supervised.configure(workers=3)
    supervised.hangup()
    until(lambda: len(supervised.events("worker_ended")) == 2 and len(supervised.workers) == 3)
    supervised.configure(workers=1)
    supervised.hangup()
    until(lambda: len(supervised.workers) == 1 and len(supervised.events("worker_ended")) == 5)


@pytest.mark.parametrize("wrong", [{"queue": -1}, {"queues": 5}])
def test_settings_that_are_not_acceptable_leave_everything_as_it_is(supervised, wrong):
    supervised.start()
    before = supervised.workers
    supervised.configure(**wrong)
    supervised.hangup()
    (refused,) = until(lambda: supervised.events("settings_refused"))
    assert "queue" in refused["reason"]
    assert supervised.workers == before


def test_settings_with_which_no_worker_starts_leave_the_old_workers(supervised):
    supervised.start()
    before = supervised.workers
    supervised.do("refuse")
    supervised.configure(queue=1)
    supervised.hangup()
    (refused,) = until(lambda: supervised.events("settings_refused"))
    assert refused["reason"] == "the queue is too short"
    until(lambda: supervised.workers == before)
    supervised.do("ready")  # the same change is one again, for it was not taken over
    supervised.hangup()
    until(lambda: len(supervised.workers) == 2 and not set(before) & set(supervised.workers))


def test_what_needs_a_restart_is_said_and_not_done(supervised):
    supervised.start()
    before = supervised.workers
    supervised.configure(grpc_port=65000)
    supervised.hangup()
    (read,) = until(lambda: supervised.events("settings_read"))
    assert (read["changed"], read["need_restart"]) == ({}, ["grpc_port"])
    assert supervised.workers == before


def test_a_worker_that_does_not_end_is_killed(tmp_path):
    one = Supervised(tmp_path, workers=1, drain=0.1)
    one.do("stubborn")
    one.start()
    began = time.monotonic()
    assert one.stop() == 0
    assert 3.0 < time.monotonic() - began < 30.0
    assert [event["how"] for event in one.events("worker_ended")] == ["signal SIGKILL"]
    one.process.stdout.close()


def test_what_a_worker_has_started_does_not_hold_up_the_supervisor(supervised):
    supervised.do("fork")
    supervised.start()
    first = supervised.workers[0]
    os.kill(first, signal.SIGKILL)
    until(lambda: len(supervised.workers) == 2 and first not in supervised.workers, patience=20.0)
    assert supervised.stop() == 0


def test_a_second_signal_ends_it_at_once(tmp_path):
    one = Supervised(tmp_path, workers=1, drain=60.0)
    one.do("stubborn")
    one.start()
    workers = one.workers
    one.process.send_signal(signal.SIGINT)
    until(lambda: one.events("server_draining"))
    one.process.send_signal(signal.SIGINT)
    assert one.process.stdout.readline().startswith("REFUSED Unavailable stopped at once")
    assert one.process.wait(PATIENCE) == 1
    assert not any(map(alive, workers))
    one.process.stdout.close()


def test_closing_its_terminal_ends_it(supervised):
    ours, theirs = os.openpty()
    supervised.process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(supervised.config), str(supervised.how)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=supervised.log.open("wb"),
        text=True,
        start_new_session=True,
    )
    os.close(theirs)
    assert supervised.process.stdout.readline().startswith("READY")
    os.close(ours)
    supervised.hangup()
    assert supervised.process.wait(PATIENCE) == 0
