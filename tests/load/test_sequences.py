"""Sequences of the Open Inference Protocol on a server of two workers: all right, none left behind.

What lives on, and why: a sequence whose caller is killed or cancelled between two requests stays
until it has not been used for ``session_ttl``, as a sequence of any caller who is slow.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from foretoken.proto import grpc_service as oip
from tests.load.calling import SERVICE
from tests.load.sequences import ATOL, Caller, ask, observed, reference, sequence_server
from tests.load.watching import SHARED, total, until

ROOT = Path(__file__).resolve().parents[2]
THREADS = 8
ITERATIONS = 200
CALLERS = 16  # connections, so many that no worker has all of them
KINDS = ("valid", "no start", "no end", "duplicate start")
LIVE = "foretoken_sessions_live"


@pytest.fixture(scope="module")
def artefact(published):
    return published("recurrent")


@pytest.fixture(scope="module")
def expected(artefact):
    return reference(artefact)


@pytest.fixture(scope="module")
def server(artefact, tmp_path_factory):
    with sequence_server(tmp_path_factory.mktemp("sequences"), artefact) as running:
        yield running


@pytest.fixture
def callers(server):
    """Connections that both workers have some of."""
    made = [Caller(server) for _ in range(6)]
    yield made
    for each in made:
        each.channel.close()


@pytest.fixture
def idle(server):
    """Nothing lives before, and nothing may afterwards."""
    assert until(lambda: total(server, LIVE) == 0)
    yield server
    time.sleep(SHARED)
    assert until(lambda: total(server, LIVE) == 0), "something lives on"


class Thread:
    """One client of many: sequences of its own, over connections to any worker."""

    def __init__(self, number, server, expected):
        self._rng = np.random.default_rng(number)
        self._callers = [Caller(server), Caller(server)]
        self._expected = expected
        self._number = number
        self.open = 0  # sequences that were not ended

    def __call__(self):
        for i in range(ITERATIONS):
            run = getattr(self, KINDS[i % len(KINDS)].replace(" ", "_"))
            run(self.id(i))
        for each in self._callers:
            each.channel.close()

    def id(self, i):
        """Nobody else's; numbers and strings."""
        number = (i + 1) * THREADS + self._number
        return number if i % 8 < 4 else f"id {number}"

    def _ask(self, values, id_, **flags):
        caller = self._callers[self._rng.integers(2)]
        return caller.ask(values, id_, **flags)

    def _run(self, id_, *, end):
        """A run from a start, in requests of one observation or several."""
        values = self._rng.standard_normal((self._rng.integers(2, 9), 2))
        cut = int(self._rng.integers(1, len(values)))
        parts = [values[:1], *values[1:cut], values[cut:]] if cut > 1 else [values[:1], values[1:]]
        got = [
            self._ask(part, id_, start=not i, end=end and i == len(parts) - 1)
            for i, part in enumerate(parts)
        ]
        np.testing.assert_allclose(
            np.concatenate(got), self._expected(values), rtol=ATOL, atol=ATOL
        )

    def valid(self, id_):
        self._run(id_, end=True)
        assert self._callers[0].refused([0, 0], id_)[0] == "INVALID_ARGUMENT"

    def no_start(self, id_):
        for end in (False, True):
            code, details = self._callers[end].refused([0.5, 0.5], id_, end=end)
            assert code == "INVALID_ARGUMENT"
            assert "must say sequence_start" in details

    def no_end(self, id_):
        self._run(id_, end=False)
        self.open += 1

    def duplicate_start(self, id_):
        self._run(id_, end=False)
        self._run(id_, end=True)


def test_eight_clients_of_all_kinds_are_all_right(server, expected):
    clients = [Thread(number, server, expected) for number in range(THREADS)]
    failures = []

    def run(client):
        try:
            client()
        except BaseException as e:
            failures.append(e)
            raise

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(280)
    assert not failures
    left = sum(client.open for client in clients)
    assert left == THREADS * ITERATIONS // len(KINDS)
    time.sleep(SHARED)
    assert until(lambda: total(server, LIVE) == left)
    with Caller(server) as caller:  # none of them is anybody else's, and all can be ended
        for client in clients:
            for i in range(ITERATIONS):
                if KINDS[i % len(KINDS)] == "no end":
                    caller.ask([0, 0], client.id(i), end=True)
    assert until(lambda: total(server, LIVE) == 0)


def test_a_stream_carries_many_sequences_in_their_order(idle, expected):
    rng = np.random.default_rng(3)
    values = rng.standard_normal((12, 9, 2))
    requests = [
        ask(values[each, i], each + 1, start=i == 0, end=i == 8)
        for i in range(9)
        for each in range(12)
    ]
    with grpc.insecure_channel(idle.address) as channel:
        method = channel.stream_stream(
            f"{SERVICE}/ModelStreamInfer",
            oip.ModelInferRequest.SerializeToString,
            oip.ModelStreamInferResponse.FromString,
        )
        answers = list(method(iter(requests), timeout=60))
    assert {answer.error_message for answer in answers} == {""}
    got = [observed(answer.infer_response) for answer in answers]
    for each in range(12):
        np.testing.assert_allclose(
            np.concatenate(got[each::12]), expected(values[each]), rtol=ATOL, atol=ATOL
        )


def test_two_streams_share_a_sequence_wherever_they_end_up(idle, callers, expected):
    """Every caller of a sequence in turn, most by the way of the other worker."""
    values = np.random.default_rng(5).standard_normal((30, 2))
    got = [
        callers[i % len(callers)].ask(row, "shared", start=i == 0, end=i == 29)
        for i, row in enumerate(values)
    ]
    np.testing.assert_allclose(np.concatenate(got), expected(values), rtol=ATOL, atol=ATOL)


# -- {ok, cancel, timeout, error, client killed, server drained, worker killed} -------------------


def long(rows=60_000):
    """Observations that take a while."""
    return np.random.default_rng(1).standard_normal((rows, 2))


def test_ok(idle, callers):
    for i, caller in enumerate(callers):
        caller.ask([0.1, 0.2], i + 1, start=True)
    assert until(lambda: total(idle, LIVE) == len(callers))
    for i, caller in enumerate(reversed(callers)):
        caller.ask([0.1, 0.2], i + 1, end=True)


@pytest.mark.parametrize("way", ["cancelled", "timed out"])
def test_a_start_that_is_not_answered_has_begun_nothing(idle, callers, way):
    timeout = 0.15 if way == "timed out" else 60
    futures = [
        caller.future(long(), i + 1, timeout=timeout, start=True)
        for i, caller in enumerate(callers)
    ]
    if way == "cancelled":
        time.sleep(0.15)
        for each in futures:
            each.cancel()
    codes = set()
    for each in futures:
        try:
            each.result(60)
            codes.add("OK")
        except grpc.FutureCancelledError:
            codes.add("CANCELLED")
        except grpc.RpcError as e:
            codes.add(e.code().name)
    assert "OK" not in codes
    for i in range(len(callers)):
        assert callers[0].refused([0, 0], i + 1)[0] == "INVALID_ARGUMENT"


def test_an_end_whose_caller_goes_ends(idle, callers):
    patience = 0.15
    while True:
        for i, caller in enumerate(callers):
            caller.ask([0.1, 0.2], i + 1, start=True)
        futures = [caller.future(long(), i + 1, end=True) for i, caller in enumerate(callers)]
        time.sleep(patience)
        cut = sum(each.cancel() for each in futures)
        if ended(callers[0], len(callers)) and cut:
            return
        patience *= 2  # nothing had come yet
        assert patience < 10


def ended(caller, count):
    """How many of the sequences 1 to ``count`` had ended; the others do now.

    An end that had not come before its caller went has ended nothing.
    """
    time.sleep(SHARED)
    codes = [caller.refused([0, 0], i + 1, end=True)[0] for i in range(count)]
    assert set(codes) <= {"OK", "INVALID_ARGUMENT"}
    return codes.count("INVALID_ARGUMENT")


def test_a_request_that_is_cancelled_leaves_the_sequence_alone(idle, callers):
    for i, caller in enumerate(callers):
        caller.ask([0.1, 0.2], i + 1, start=True)
    futures = [caller.future(long(), i + 1) for i, caller in enumerate(callers)]
    time.sleep(0.15)
    for each in futures:
        each.cancel()
    assert until(lambda: total(idle, LIVE) == len(callers))
    for i, caller in enumerate(callers):
        caller.ask([0.1, 0.2], i + 1, end=True)


def test_error(idle, callers):
    for i, caller in enumerate(callers):
        assert caller.refused(np.ones((2, 2)), i + 1, start=True, colour="red")[0] == (
            "INVALID_ARGUMENT"
        )
        assert caller.refused([[0, float("inf")]], i + 1)[0] == "INVALID_ARGUMENT"


KILLED = """
import sys
import grpc, numpy as np
from tests.load.calling import SERVICE
from tests.load.sequences import ask
channel = grpc.insecure_channel(sys.argv[1])
made = channel.unary_unary(SERVICE + "/ModelInfer")
values = np.random.default_rng(1).standard_normal((60_000, 2))
requests = [ask(values, i + 1, **{sys.argv[2]: True}).SerializeToString() for i in range(8)]
calls = [made.future(request) for request in requests]
print("busy", flush=True)
sys.stdin.read()
"""


def killed(server, kind, patience):
    """Kill a client that starts or ends 8 sequences some seconds after it has begun to."""
    client = subprocess.Popen(
        [sys.executable, "-c", KILLED, server.address, kind],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdout.readline() == b"busy\n"
    time.sleep(patience)
    client.send_signal(signal.SIGKILL)
    client.wait()
    client.stdin.close()
    client.stdout.close()


def test_a_client_that_is_killed_has_started_nothing(idle):
    killed(idle, "start", 0.4)


def test_a_client_that_is_killed_has_ended_what_it_had_asked_to_end(idle, callers):
    patience = 0.4
    while True:
        for i in range(8):
            callers[i % len(callers)].ask([0.1, 0.2], i + 1, start=True)
        killed(idle, "end", patience)
        if ended(callers[0], 8):
            return
        patience *= 2
        assert patience < 10


def test_a_server_that_is_renewed_keeps_its_sequences(artefact, expected, tmp_path):
    """Every worker leaves; no request fails, and every sequence is right to its end."""
    values = np.random.default_rng(9).standard_normal((6, 400, 2))
    with sequence_server(tmp_path, artefact, config='age = 2.0\nlog = "errors"\n') as server:
        before = set(server.workers)
        stop = threading.Event()
        ended, failures = [], []

        def client(number):
            got = []
            try:
                with Caller(server) as caller:
                    for i, row in enumerate(values[number]):
                        got.append(caller.ask(row, f"kept {number}", start=i == 0))
                        if stop.is_set():
                            break
                        time.sleep(0.02)
                ended.append((number, np.concatenate(got)))
            except BaseException as e:
                failures.append(e)
                raise

        threads = [threading.Thread(target=client, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        server.configure('age = 2.0\nlog = "all"\n')
        renewed = until(lambda: not before & set(server.workers), 60)
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert renewed
        assert not failures
        for number, got in ended:
            wanted = expected(values[number][: len(got)])
            np.testing.assert_allclose(got, wanted, rtol=ATOL, atol=ATOL)
        assert len(ended) == 6
        assert until(lambda: total(server, LIVE) == 6)
        with Caller(server) as caller:
            for number in range(6):
                caller.ask([0, 0], f"kept {number}", end=True)
        assert until(lambda: total(server, LIVE) == 0)


def test_a_server_that_stops_and_starts_again_keeps_its_sequences(artefact, expected, tmp_path):
    values = np.random.default_rng(9).standard_normal((2, 2))
    got = []
    for i, row in enumerate(values):
        with sequence_server(tmp_path, artefact) as server, Caller(server) as caller:
            got.append(caller.ask(row, 7, start=i == 0))
    np.testing.assert_allclose(np.concatenate(got), expected(values), rtol=ATOL, atol=ATOL)


def test_a_worker_that_is_killed_takes_its_sequences_along(artefact, expected, tmp_path):
    with sequence_server(tmp_path, artefact) as server:
        made = [Caller(server) for _ in range(CALLERS)]
        for i, caller in enumerate(made):
            caller.ask([0.1, 0.2], i + 1, start=True)
        assert until(lambda: total(server, LIVE) == CALLERS)
        os.kill(server.workers[0], signal.SIGKILL)
        outcomes = []
        for i in range(CALLERS):
            with Caller(server) as caller:
                assert until(lambda c=caller, n=i + 1: c.refused([0, 0], n)[0] != "UNAVAILABLE", 30)
                outcomes.append(caller.refused([0.3, 0.4], i + 1, end=True))
                caller.ask([0.5, 0.6], i + 1, start=True, end=True)
        assert {code for code, _ in outcomes} <= {"OK", "NOT_FOUND"}
        assert all("lost with the worker" in text for code, text in outcomes if code != "OK")
        assert any(code == "NOT_FOUND" for code, _ in outcomes)
        assert until(lambda: len(server.workers) == 2, 30)
        time.sleep(SHARED)
        assert until(lambda: total(server, LIVE) == 0)
        for each in made:
            each.channel.close()
