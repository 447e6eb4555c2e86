"""Metrics: what is counted, the sum over workers, what remains of dead ones, bounded labels."""

from __future__ import annotations

import asyncio
import errno
import random
import shutil
import subprocess
import sys
import threading
import time
import timeit

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from foretoken.errors import DataLoss
from foretoken.server.engine.observer import Batch, Served
from foretoken.server.metrics import Metrics, metrics, shares, worker_died
from foretoken.server.metrics.cells import decode, encode, joined, merge
from foretoken.server.metrics.definitions import EXPOSED, ROWS, SECONDS
from foretoken.server.metrics.shares import Share

INFER = "/inference.GRPCInferenceService/ModelInfer"
BATCH = Batch("lcpfn", 2, "forward", 3, 60, 72, (0.001, 0.002, 0.003), 0.004)
SERVED = Served("lcpfn", 2, 0.002, 0.004, 0.0065, "")


def values(text: bytes) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, those in alphabetical order."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def shown(counted: Metrics) -> dict[tuple[str, ...], float]:
    return values(asyncio.run(counted.text())[0])


def unary(counted: Metrics) -> None:
    """What is heard of one unary call that had a batch to itself."""
    counted.waiting("lcpfn", 1)
    counted.waiting("lcpfn", -1)
    counted.batch(BATCH)
    counted.served(SERVED)
    counted.rpc(INFER, "lcpfn", "OK", 0.007, 0.0003)


def test_a_call_is_counted_by_model_phase_method_and_code():
    counted = Metrics()
    unary(counted)
    counted.rpc(INFER, "", "NOT_FOUND", 0.001, 0.0)
    counted.served(Served("lcpfn", 2, 0.0, 0.0, 0.5, "DeadlineExceeded"))
    found = shown(counted)
    assert found["foretoken_rpcs_total", "OK", INFER] == 1
    assert found["foretoken_rpcs_total", "NOT_FOUND", INFER] == 1
    assert found["foretoken_rpc_seconds_sum", INFER] == pytest.approx(0.008)
    assert found["foretoken_requests_total", "lcpfn", "ok"] == 1
    assert found["foretoken_requests_total", "lcpfn", "DeadlineExceeded"] == 1
    assert found["foretoken_request_seconds_sum", "lcpfn"] == pytest.approx(0.5065)
    sums = {p: found["foretoken_phase_seconds_sum", "lcpfn", p] for p in ("queue", "compute")}
    assert sums == {"queue": 0.002, "compute": 0.004}
    assert found["foretoken_phase_seconds_sum", "lcpfn", "encode"] == 0.0003
    assert found["foretoken_phase_seconds_count", "lcpfn", "encode"] == 1
    assert found["foretoken_batch_rows_sum", "lcpfn"] == 3
    assert found["foretoken_batch_rows_count", "lcpfn"] == 1
    assert found["foretoken_batch_tokens_total", "real", "lcpfn"] == 60
    assert found["foretoken_batch_tokens_total", "padding", "lcpfn"] == 12


def test_what_goes_wrong_is_counted_by_its_reason():
    counted = Metrics()
    counted.shed("lcpfn", "queue")
    counted.shed("lcpfn", "deadline")
    counted.load_failed("lcpfn", 3, DataLoss("weights"))
    counted.cancelled(INFER, "")
    counted.deadline_missed(INFER, "lcpfn")
    for why in ("missing", "expired", "expired", "rate"):
        counted.refused(why, "ipv4:127.0.0.1:1")
    counted.rpc(INFER, "", "PERMISSION_DENIED", 0.001, 0.0)
    found = shown(counted)
    assert found["foretoken_sheds_total", "lcpfn", "queue"] == 1
    assert found["foretoken_sheds_total", "lcpfn", "deadline"] == 1
    assert found["foretoken_model_load_failures_total", "lcpfn"] == 1
    assert found["foretoken_cancellations_total", INFER] == 1
    assert found["foretoken_deadline_misses_total", INFER] == 1
    refused = {s[1]: v for s, v in found.items() if s[0] == "foretoken_auth_failures_total"}
    assert refused == {"missing": 1, "expired": 2, "scope": 1}
    assert found["foretoken_rate_limited_total",] == 1


def test_gauges_say_what_is_there_now():
    counted = Metrics()
    counted.loaded("lcpfn", 1, 0.2, 1000)
    counted.loaded("lcpfn", 2, 0.3, 2000)
    counted.loaded("lcpfn", 2, 0.3, 2500)  # anew, with other options, before the old one goes
    counted.unloaded("lcpfn", 1)
    counted.unloaded("lcpfn", 2)
    counted.unloaded("lcpfn", 7)  # was never held
    counted.waiting("lcpfn", 9)
    counted.waiting("lcpfn", -5)
    counted.stream(INFER, 1)
    counted.stream(INFER, 1)
    counted.stream(INFER, -1)
    found = shown(counted)
    assert found["foretoken_loaded_bytes", "weights"] == 2500
    assert found["foretoken_loaded_versions", "lcpfn"] == 1
    assert found["foretoken_model_load_seconds_count", "lcpfn"] == 3
    assert found["foretoken_calls_waiting", "lcpfn"] == 4
    assert found["foretoken_streams_live", INFER] == 1
    assert found["foretoken_workers",] == 1


@pytest.mark.parametrize(("field", "bounds"), [("queue", SECONDS), ("rows", ROWS)])
def test_histograms_are_those_of_prometheus_itself(field, bounds):
    registry = prometheus_client.CollectorRegistry()
    reference = prometheus_client.Histogram("x", "x", buckets=bounds, registry=registry)
    counted, numbers = Metrics(), random.Random(0)
    drawn = [*bounds, *(numbers.choice(bounds) * numbers.uniform(0.5, 1.5) for _ in range(500))]
    for value in drawn if field == "queue" else map(round, drawn):
        reference.observe(value)
        if field == "queue":
            counted.served(Served("m", 1, value, 0.0, value, ""))
        else:
            counted.batch(Batch("m", 1, "g", value, 1, 1, (), 0.0))
    key = {"queue": ("foretoken_phase_seconds", "queue"), "rows": ("foretoken_batch_rows",)}[field]
    own = shown(counted)
    buckets = {s[1]: v for s, v in own.items() if s[0] == key[0] + "_bucket" and s[3:] == key[1:]}
    expected = values(prometheus_client.generate_latest(registry))
    assert buckets == {s[1]: v for s, v in expected.items() if s[0] == "x_bucket"}
    assert own[key[0] + "_sum", "m", *key[1:]] == pytest.approx(expected["x_sum",])


# -- several workers ------------------------------------------------------------------------------


def worker(folder, pid: int, calls: int) -> None:
    """A worker that has answered so many calls and holds a version."""
    counted = Metrics()
    counted.loaded("lcpfn", 2, 0.1, 100)
    for _ in range(calls):
        unary(counted)
    Share(folder, pid).write(asyncio.run(counted.cells()))


def calls_of(found: dict[tuple[str, ...], float]) -> float:
    return found["foretoken_requests_total", "lcpfn", "ok"]


def test_any_worker_shows_the_sum_over_all(tmp_path):
    counted = Metrics(tmp_path)
    unary(counted)
    worker(tmp_path, 1001, 10)
    worker(tmp_path, 1002, 100)
    found = shown(counted)
    assert calls_of(found) == 111
    assert found["foretoken_batch_rows_sum", "lcpfn"] == 333
    assert found["foretoken_loaded_bytes", "weights"] == 200
    assert found["foretoken_workers",] == 3
    assert 0 < time.time() - found["foretoken_start_time_seconds",] < 60
    assert found["foretoken_info", metrics.foretoken.__version__] == 1


def test_counts_of_dead_workers_stay_and_their_gauges_go(tmp_path):
    counted = Metrics(tmp_path)
    for pid, calls in ((1001, 10), (1002, 100), (1003, 1000)):
        worker(tmp_path, pid, calls)
    worker_died(tmp_path, 1001)
    worker_died(tmp_path, 1003)
    worker_died(tmp_path, 1004)  # before it had shared anything
    found = shown(counted)
    assert calls_of(found) == 1110
    assert found["foretoken_loaded_bytes", "weights"] == 100
    assert found["foretoken_workers",] == 2
    assert found["foretoken_worker_restarts_total",] == 3
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".worker"]


def test_a_worker_that_was_asked_to_stop_counts_as_no_restart(tmp_path):
    worker(tmp_path, 1001, 10)
    worker_died(tmp_path, 1001, restarted=False)
    found = shown(Metrics(tmp_path))
    assert calls_of(found) == 10
    assert ("foretoken_worker_restarts_total",) not in found


def test_a_server_is_up_for_as_long_as_its_first_worker_would_be(tmp_path):
    async def live() -> float:
        counted = Metrics(tmp_path)
        Share(tmp_path, 1001).write({("foretoken_start_time_seconds",): [time.time() - 1000]})
        worker_died(tmp_path, 1001)
        return await counted.uptime()

    assert 1000 <= asyncio.run(live()) < 1060


def test_a_full_disk_does_not_end_the_supervisor(tmp_path, monkeypatch):
    worker(tmp_path, 1001, 10)
    monkeypatch.setattr(shares, "_replace", _no_room)
    worker_died(tmp_path, 1001)
    assert calls_of(shown(Metrics(tmp_path))) == 10


def _no_room(path, data) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_process_id_that_comes_again_is_another_worker(tmp_path):
    worker(tmp_path, 1001, 10)
    worker_died(tmp_path, 1001)
    worker(tmp_path, 1001, 100)
    assert calls_of(shown(Metrics(tmp_path))) == 110
    worker_died(tmp_path, 1001)
    assert calls_of(shown(Metrics(tmp_path))) == 110


def test_a_supervisor_that_died_between_its_two_steps_counts_nobody_twice(tmp_path):
    worker(tmp_path, 1001, 10)
    (path,) = tmp_path.glob("*.worker")
    left = path.read_bytes()
    worker_died(tmp_path, 1001)
    path.write_bytes(left)
    assert calls_of(shown(Metrics(tmp_path))) == 10


def test_no_reader_sees_a_count_fall_or_double_while_workers_die(tmp_path):
    reader, done, seen = Share(tmp_path, 1), threading.Event(), []

    def read() -> None:
        while not done.is_set():
            cells = merge(reader.others())
            seen.append(cells.get(("foretoken_rate_limited_total",), [0])[0])

    thread = threading.Thread(target=read)
    thread.start()
    for pid in range(100, 250):
        share = Share(tmp_path, pid)
        share.write({("foretoken_rate_limited_total",): [1]})
        worker_died(tmp_path, pid)
    done.set()
    thread.join()
    assert seen == sorted(seen)
    assert max(seen) <= 150
    assert merge(reader.others())["foretoken_rate_limited_total",] == [150]


KILLED = """
import asyncio, sys
from pathlib import Path
from foretoken.server.metrics import Metrics

async def main():
    counted = Metrics(Path(sys.argv[1]))
    await counted.start()
    for _ in range(1000):
        counted.shed("lcpfn", "queue")
    await asyncio.sleep(1.2)
    counted.shed("lcpfn", "queue")  # within the last half second: it is not counted
    print("counted", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_worker_killed_outright_loses_its_last_moments_alone(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    process.kill()
    process.wait()
    worker_died(tmp_path, process.pid)
    found = shown(Metrics(tmp_path))
    assert found["foretoken_sheds_total", "lcpfn", "queue"] in (1000, 1001)
    assert found["foretoken_workers",] == 1


def test_the_last_counts_are_shared_when_a_worker_stops(tmp_path):
    async def live() -> None:
        counted = Metrics(tmp_path)
        await counted.start()
        unary(counted)
        await counted.stop()

    asyncio.run(live())
    assert calls_of(shown(Metrics(tmp_path))) == 1


def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "PERIOD", 0.01)
    folder = tmp_path / "metrics"
    folder.mkdir()

    async def live() -> None:
        counted = Metrics(folder)
        await counted.start()
        shutil.rmtree(folder)
        await asyncio.sleep(0.5)
        folder.mkdir()
        unary(counted)
        await counted.stop()

    asyncio.run(live())
    found = shown(Metrics(folder))
    assert calls_of(found) == 1
    assert found["foretoken_share_failures_total",] >= 1


# -- bounds ---------------------------------------------------------------------------------------


def labels(found: dict[tuple[str, ...], float], metric: str, place: int) -> set[str]:
    return {series[place] for series in found if series[0] == metric}


def test_names_of_models_are_bounded():
    counted = Metrics(models=20)
    for number in range(500):
        name = f"model-{number}"
        counted.loaded(name, 1, 0.1, 10)
        counted.waiting(name, 1)
        counted.served(Served(name, 1, 0.0, 0.0, 0.1, ""))
        counted.batch(Batch(name, 1, "g", 1, 1, 1, (0.0,), 0.1))
        counted.unloaded(name, 1)
    found = shown(counted)
    named = labels(found, "foretoken_requests_total", 1)
    assert len(named) == 21
    assert found["foretoken_requests_total", "other", "ok"] == 480
    assert found["foretoken_loaded_versions", "other"] == 0
    assert found["foretoken_calls_waiting", "other"] == 480


def test_names_that_callers_make_up_are_no_labels():
    counted = Metrics()
    for number in range(500):
        counted.rpc(f"/made.up/Method{number}", f"model-{number}", "OK", 0.001, 0.0)
        counted.served(Served("lcpfn", 1, 0.0, 0.0, 0.1, f"Error{number}"))
    found = shown(counted)
    assert labels(found, "foretoken_phase_seconds_count", 1) == {"lcpfn", "other"}
    assert len(labels(found, "foretoken_rpcs_total", 2)) == metrics.METHODS + 1
    assert found["foretoken_rpc_seconds_count", "other"] == 500 - metrics.METHODS
    assert labels(found, "foretoken_requests_total", 2) == {"ok", "InternalError"}


def test_versions_are_no_labels_and_are_forgotten_in_time():
    counted = Metrics()
    for number in range(1, 1000):
        counted.batch(Batch("lcpfn", number, "g", number, 1, 1, (0.0,), 0.1))
        counted.served(Served("lcpfn", number, 0.0, 0.0, 0.1, ""))
    cells = asyncio.run(counted.cells())
    kept = {int(series[2]) for series in cells if series[0] == "version"}
    assert kept == set(range(1000 - metrics.VERSIONS, 1000))
    assert {s[2] for s in cells if s[0].startswith("version_")} == set(map(str, kept))
    assert all("998" not in series[1:] for series in shown(counted))


def test_a_unary_call_costs_a_few_microseconds():
    counted = Metrics()
    unary(counted)
    once = min(timeit.repeat(lambda: unary(counted), number=2000, repeat=7)) / 2000
    assert once < 20e-6  # 3 µs on a quiet machine


# -- definitions ----------------------------------------------------------------------------------


def test_names_follow_the_conventions_of_prometheus():
    for each in EXPOSED:
        assert each.name.startswith("foretoken_")
        assert each.name.endswith("_total") == (each.kind == "counter"), each.name
        assert bool(each.bounds) == (each.kind == "histogram"), each.name
        assert list(each.bounds) == sorted(each.bounds)
    assert len({each.name for each in EXPOSED}) == len(EXPOSED)


def test_nothing_is_counted_that_is_not_defined():
    counted = Metrics(models=1)
    unary(counted)
    counted.loaded("lcpfn", 2, 0.1, 10)
    counted.loaded("another", 1, 0.1, 10)
    counted.shed("lcpfn", "queue")
    counted.stream(INFER, 1)
    counted.cancelled(INFER, "")
    counted.deadline_missed(INFER, "")
    counted.refused("rate")
    counted.refused("missing")
    counted.load_failed("lcpfn", 2, ValueError())
    counted.context("lcpfn", "hit")
    counted.contexts_evicted(1)
    counted.contexts_kept(1, 2, 3)
    counted.sessions("lcpfn", 1, 10)
    counted.pool("pool", "lcpfn", 10)
    counted.first_token("lcpfn", 0.1, 5, 2)
    cells = asyncio.run(counted.cells())
    defined = {each.name: len(each.labels) for each in EXPOSED}
    for name, *own in cells:
        assert name.startswith("version") or defined[name] == len(own)
    never_here = {"foretoken_worker_restarts_total", "foretoken_share_failures_total"}
    assert set(defined) - {series[0] for series in cells} == never_here


def test_open_metrics_is_spoken_to_those_who_ask():
    counted = Metrics()
    unary(counted)
    text, content_type = asyncio.run(counted.text("application/openmetrics-text; version=1.0.0"))
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    plain, content_type = asyncio.run(counted.text())
    assert content_type.startswith("text/plain; version=")
    assert b"# EOF" not in plain


def test_cells_survive_their_journey_as_json():
    cells = {("a", 'with "quotes",\nünïcode\u2028'): [1, 0.1, 12345678901234567], ("b",): [0]}
    assert decode(joined(encode(cells))) == cells
    assert decode(joined(encode({}))) == {}


def test_lines_of_what_has_not_changed_are_taken_from_before_and_no_others():
    before = encode({("a",): [1], ("b",): [1], ("c",): [1]})
    after = encode({("a",): [1], ("b",): [2]}, before)
    assert after["a",] is before["a",]
    assert decode(joined(after)) == {("a",): [1], ("b",): [2]}
