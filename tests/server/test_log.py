"""The log: whole lines of JSON, cheap, and nobody's business when stderr fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time

import pytest

from foretoken.server import log as module
from foretoken.server.log import Log, describe_bug

CALL = ("/a.B/C", "OK", "info", "id-1", "anna", 0.0012345)


@pytest.fixture
def lines(tmp_path):
    """``lines(use)`` has ``use`` write to a log, and gives its records."""
    path = tmp_path / "log"

    def written(use, **options):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        log = Log(fd=fd, flush=0.01, **options)
        use(log)
        log.close()
        os.close(fd)
        return [json.loads(line) for line in path.read_text().splitlines()]

    return written


def test_a_call_is_one_object_on_one_line(lines):
    def use(log):
        log.rpc(*CALL, "lcpfn", 3)
        log.rpc("/a.B/C", "NOT_FOUND", "warning", "id-2", "", 1.0, error="NotFound")

    first, second = lines(use)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "level": "info",
        "event": "rpc",
        "request_id": "id-1",
        "method": "/a.B/C",
        "code": "OK",
        "caller": "anna",
        "seconds": 0.001234,
        "model": "lcpfn",
        "version": 3,
    }
    assert second["error"] == "NotFound"
    assert "model" not in second


@pytest.mark.parametrize("text", ['"}\n{"', "\\", "\x00\x1f", "é\U0001f600", "\ud800", "\u2028"])
def test_whatever_a_name_holds_the_line_is_whole(lines, text):
    def use(log):
        log.rpc("/a.B/C", "OK", "info", text, text, 0.0, text, 1)
        log.event(text, value=text)

    call, event = lines(use)
    assert (call["request_id"], call["caller"], call["model"]) == (text, text, text)
    assert (event["event"], event["value"]) == (text, text)


def test_events_take_what_json_does_not_know(lines, tmp_path):
    [event] = lines(lambda log: log.event("started", "warning", path=tmp_path, port=1))
    assert (event["level"], event["path"], event["port"]) == ("warning", str(tmp_path), 1)


def test_times_are_those_of_the_records(lines, monkeypatch):
    now = [1700000000.9996]
    monkeypatch.setattr(module.time, "time", lambda: now[0])

    def use(log):
        log.event("a")
        now[0] = 1700000001.0
        log.event("b")

    assert [r["time"] for r in lines(use)] == [
        "2023-11-14T22:13:20.999Z",
        "2023-11-14T22:13:21.000Z",
    ]


def test_all_threads_may_write_and_nothing_is_lost(lines):
    def use(log):
        def many(k):
            for i in range(1000):
                log.rpc("/a.B/C", "OK", "info", f"{k}-{i}", "anna", 0.0)

        threads = [threading.Thread(target=many, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    ids = [r["request_id"] for r in lines(use)]
    assert len(set(ids)) == len(ids) == 4000
    assert [i for i in ids if i.startswith("0-")] == [f"0-{i}" for i in range(1000)]


def test_nothing_is_lost_at_exit():
    code = "from foretoken.server.log import Log; Log(flush=60).event('bye')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(done.stderr)["event"] == "bye"


def test_a_broken_stderr_does_no_harm():
    read, write = os.pipe()
    log = Log(fd=write, flush=0.01)
    os.close(read)
    for _ in range(3):
        log.event("unheard")
        time.sleep(0.03)
    log.close()
    os.close(write)


def test_a_reader_that_does_not_read_costs_records_but_no_time_and_no_memory(monkeypatch):
    monkeypatch.setattr(module, "RECORDS", 100)
    read, write = os.pipe()
    log = Log(fd=write, flush=0.01)
    began = time.monotonic()
    for i in range(20000):
        log.event("much", number=i, padding="x" * 100)
        if i % 2000 == 0:
            time.sleep(0.02)
    assert time.monotonic() - began < 20
    got = b""
    while b"log_dropped" not in got:  # once it is read again, the loss is said
        got += os.read(read, 1 << 16)

    def end():
        log.close()
        os.close(write)

    closing = threading.Thread(target=end)
    closing.start()
    while more := os.read(read, 1 << 16):
        got += more
    closing.join()
    os.close(read)
    records = [json.loads(line) for line in got.splitlines()]
    lost = sum(r["records"] for r in records if r["event"] == "log_dropped")
    assert lost > 0
    assert lost + sum(r["event"] == "much" for r in records) == 20000


def test_several_processes_may_share_a_pipe():
    code = (
        "from foretoken.server.log import Log\n"
        "log = Log(flush=0.001)\n"
        "for i in range(2000): log.rpc('/a.B/C', 'OK', 'info', str(i), 'anna', 0.0)\n"
    )
    read, write = os.pipe()
    writers = [subprocess.Popen([sys.executable, "-c", code], stderr=write) for _ in range(2)]
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        records = [json.loads(line) for line in pipe]
    assert [w.wait() for w in writers] == [0, 0]
    assert len(records) == 4000


def test_bugs_are_described_without_what_was_sent():
    def parse():
        try:
            return int("a secret")
        except ValueError as e:
            raise RuntimeError("the runtime failed") from e

    with pytest.raises(RuntimeError) as caught:
        parse()
    about = describe_bug(caught.value)
    assert about["kind"] == "builtins.RuntimeError"
    assert about["text"] == "the runtime failed"
    assert any("test_log.py" in frame for frame in about["traceback"])
    assert about["cause"]["kind"] == "builtins.ValueError"
    assert "secret" not in json.dumps(about)


def test_a_record_costs_little():
    log = Log(fd=os.open(os.devnull, os.O_WRONLY), flush=60)
    began = time.thread_time()
    for _ in range(10000):
        log.rpc(*CALL, "lcpfn", 3)
    taken = (time.thread_time() - began) / 10000
    log.close()
    assert taken < 20e-6  # the budget is 3; what is left is for slow machines
