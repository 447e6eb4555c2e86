"""``foretoken serve`` as a whole: real processes, real ports, a real model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme

from foretoken import Client
from foretoken.errors import ForetokenError, Unavailable
from foretoken.proto import curves, health
from foretoken.proto import grpc_service as oip
from tests import boxed
from tests.serving import COMMAND, Server, alive, serving

CURVE = [0.31, 0.45, 0.53, 0.59, 0.63, 0.66]
PATIENCE = 30.0
MEGABYTE = 1 << 20


def until(condition, patience: float = PATIENCE):
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def events(server: Server, name: str) -> list[dict]:
    records = [json.loads(line) for line in server.log.read_text().splitlines()]
    return [record for record in records if record["event"] == name]


def replaced(server: Server, before: list[int]) -> bool:
    now = server.workers
    return len(now) == len(before) and not set(before) & set(now)


def extrapolated(channel, count: int = 1) -> list[float]:
    """One call of so many curves; nothing of ours tries it again."""
    call = channel.unary_unary(
        "/foretoken.v1.Curves/Extrapolate",
        curves.ExtrapolateRequest.SerializeToString,
        curves.ExtrapolateResponse.FromString,
    )
    curve = curves.Curve(values=CURVE, at=[100.0])
    request = curves.ExtrapolateRequest(model="lcpfn", curves=[curve] * count)
    return [posterior.mean[0] for posterior in call(request, timeout=PATIENCE).posteriors]


def bare_channel(server: Server) -> grpc.Channel:
    return grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])


@contextmanager
def load(call: Callable[[], object], callers: int) -> Iterator[Counter[str]]:
    """Call again and again from several threads, counting how it went."""
    results: Counter[str] = Counter()
    stop = threading.Event()

    def caller() -> None:
        once = call()
        while not stop.wait(0.003):  # or the callers take all of the machine
            try:
                once()
                results["ok"] += 1
            except grpc.RpcError as e:
                results[f"{e.code().name}: {e.details()}"] += 1
            except ForetokenError as e:
                results[f"{type(e).__name__}: {e}"] += 1

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield results
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def cpu_seconds(pid: int) -> float:
    """What the process has computed so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Without looking by themselves: what a worker learns here it learns from a peer.
    with serving(workers=2, env={"FORETOKEN_FOLLOW": "3600"}) as server:
        yield server


def test_what_it_prints_names_the_models_and_can_be_pasted(server, tmp_path):
    printed = server.out.read_text()
    assert "model     lcpfn:1  (curve)" in printed
    lines = [line.strip() for line in printed.splitlines()]
    made = next(line for line in lines if line.startswith("printf"))
    command = next(line for line in lines if line.startswith("foretoken extrapolate"))
    subprocess.run(["bash", "-c", made], cwd=tmp_path, check=True)
    main = f"{sys.executable} -P -c 'from foretoken.cli import main; main()'"
    said = subprocess.run(
        ["bash", "-c", f"{command.replace('foretoken', main, 1)} --json"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout.lstrip().startswith("["), said.stdout
    assert 0.72 < json.loads(said.stdout)[-1]["mean"] < 1.0
    python = "\n".join(lines[lines.index("or in Python:") + 1 :])
    said = subprocess.run(
        [sys.executable, "-c", python], capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("[0.")


def test_the_demonstration_answers_a_curve_over_grpc():
    with serving("--demo") as server:
        until(lambda: "100" in server.out.read_text().partition("10 points seen")[2])
        called = until(lambda: events(server, "rpc"))
        assert {(call["method"], call["code"]) for call in called} == {
            ("/foretoken.v1.Curves/Extrapolate", "OK")
        }


def test_all_doors_are_open(server):
    with urllib.request.urlopen(f"{server.http}/readyz") as reply:
        assert reply.read() == b"ready\n"
    with grpc.insecure_channel(server.address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            health.HealthCheckRequest.SerializeToString,
            health.HealthCheckResponse.FromString,
        )
        serving_status = health.HealthCheckResponse.ServingStatus.SERVING
        assert check(health.HealthCheckRequest(service="lcpfn")).status == serving_status
        assert check(health.HealthCheckRequest()).status == serving_status
    with Client(server.address) as client:
        assert [model.name for model in client.models()] == boxed.names()


def test_workers_are_small_and_have_no_torch(server):
    for pid in server.workers:
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line[:4] == "Pss:")
        assert pss * 1024 <= 300 * MEGABYTE


def test_workers_may_open_as_many_files_as_the_system_lets_them(server):
    for pid in server.workers:
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        soft, hard = next(line.split()[3:5] for line in limits if line.startswith("Max open files"))
        assert soft == hard


@pytest.mark.parametrize("same", ["data dir", "port"])
def test_a_second_server_is_refused_with_one_line(server, tmp_path, same):
    port = server.address.rpartition(":")[2] if same == "port" else "0"
    home = server.data_dir if same == "data dir" else tmp_path
    said = subprocess.run(
        [*COMMAND, "--grpc-port", port, "--http-port", "0", "--data-dir", str(home)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert said.stdout == ""
    (line,) = said.stderr.splitlines()
    assert ("has the data dir" if same == "data dir" else "cannot listen on") in line


def test_a_change_through_one_worker_is_known_to_all_when_it_returns(server):
    clients = [Client(server.address) for _ in range(8)]  # all workers are among these
    try:
        for client in clients:
            client.extrapolate("lcpfn", CURVE)
        for changing in clients[:2]:
            changing.unload("lcpfn")
            assert [client.ready("lcpfn") for client in clients] == [False] * 8
            changing.load("lcpfn")
            assert [client.ready("lcpfn") for client in clients] == [True] * 8
    finally:
        for client in clients:
            client.close()


def test_so_is_one_through_the_open_inference_protocol(server):
    clients = [Client(server.address) for _ in range(8)]
    change = oip.RepositoryModelLoadRequest(model_name="lcpfn").SerializeToString()
    try:
        for client in clients:
            client.extrapolate("lcpfn", CURVE)
        with grpc.insecure_channel(server.address) as channel:
            for what, served in (("Unload", False), ("Load", True)):
                channel.unary_unary(f"/inference.GRPCInferenceService/RepositoryModel{what}")(
                    change
                )
                assert [client.ready("lcpfn") for client in clients] == [served] * 8
    finally:
        for client in clients:
            client.close()


def test_what_workers_ask_each_other_is_for_the_servers_user_alone(server):
    (run,) = (server.data_dir / "run").iterdir()
    assert run.stat().st_mode & 0o777 == 0o700
    assert len(list(run.glob("worker-*.sock"))) == 2


def test_a_killed_worker_is_back_within_three_seconds_and_clients_do_not_notice():
    """Three seconds, or on a busy machine thrice what the whole server has just taken to start."""
    starting = time.monotonic()
    with serving(workers=2) as server:
        bound = max(3.0, 3 * (time.monotonic() - starting))

        def caller() -> Callable[[], object]:
            client = Client(server.address)
            return lambda: client.extrapolate("lcpfn", CURVE, at=[100.0])

        with load(caller, 4) as results:
            until(lambda: results["ok"] > 20)
            victim = server.workers[0]
            began = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            until(lambda: len(server.workers) == 2 and victim not in server.workers)
            until(lambda: [*server.data_dir.glob("run/*/worker-3.sock")])
            assert time.monotonic() - began < bound
            os.kill(server.workers[0], signal.SIGTERM)  # one that is asked to end is replaced too
            until(lambda: [*server.data_dir.glob("run/*/worker-4.sock")])
        assert list(results) == ["ok"], results
        (killed, _) = until(lambda: events(server, "worker_ended")[:2])
        assert killed["how"] == "signal SIGKILL"


def renewals(count: int) -> None:
    """Load as any gRPC client makes it, while all workers are renewed again and again."""
    with serving(workers=2, env={"FORETOKEN_AGE": "1"}, config="queue = 100") as server:

        def staying() -> Callable[[], object]:
            channel = bare_channel(server)
            return lambda: extrapolated(channel)

        def coming() -> Callable[[], object]:
            def once() -> None:
                with bare_channel(server) as channel:
                    extrapolated(channel)

            return once

        with load(staying, 6) as stayed, load(coming, 2) as came:
            for renewal in range(count):
                before = server.workers
                server.configure(f"queue = {200 + renewal}")
                until(lambda before=before: replaced(server, before))
        assert list(stayed) == ["ok"], stayed
        assert list(came) == ["ok"], came
        assert len(events(server, "settings_read")) == count
        assert all(event["how"] == "exit status 0" for event in events(server, "worker_ended"))


def test_renewing_the_workers_loses_no_call():
    renewals(1)


@pytest.mark.slow
def test_renewing_the_workers_again_and_again_loses_no_call():
    renewals(20)


@pytest.mark.parametrize("told", ["the supervisor", "every process"])
def test_at_the_end_calls_in_flight_are_answered_and_streams_are_told(told):
    with serving() as server, Client(server.address) as client, bare_channel(server) as channel:
        answers: list[float] = []
        with client.watch("lcpfn", at=[100.0], best=0.9) as watch:
            watch.push(1.0, 0.3)
            extrapolated(channel)
            calling = threading.Thread(target=lambda: answers.extend(extrapolated(channel, 1000)))
            (worker,) = server.workers
            before = cpu_seconds(worker)
            calling.start()
            until(lambda: cpu_seconds(worker) > before + 0.2)  # of a second or more
            if told == "every process":  # as service managers do
                os.kill(worker, signal.SIGTERM)
            server.process.send_signal(signal.SIGTERM)
            assert answers == []
            calling.join(PATIENCE)
            with pytest.raises(Unavailable):
                watch.push(2.0, 0.4)
        assert len(answers) == 1000
        assert np.all(np.isfinite(answers))
        assert server.process.wait(PATIENCE) == 0
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{server.http}/readyz", timeout=5)


def test_workers_end_by_themselves_when_the_supervisor_is_killed():
    with serving(workers=2) as server:
        workers = server.workers
        server.process.kill()
        server.process.wait()
        until(lambda: not any(map(alive, workers)), patience=5.0)


def test_ctrl_c_is_an_orderly_end():
    with serving() as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0


def test_a_renewed_certificate_is_shown_to_new_connections(tmp_path):
    authority = trustme.CA()
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)

    def issue() -> bytes:
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(key)
        cert.write_bytes(issued.cert_chain_pems[0].bytes())
        return issued.cert_chain_pems[0].bytes()

    issue()
    with serving("--tls-cert", str(cert), "--tls-key", str(key)) as server:
        with Client(server.address, ca=ca) as client:
            client.extrapolate("lcpfn", CURVE)
        workers = server.workers
        wanted = issue()
        server.process.send_signal(signal.SIGHUP)
        (read,) = until(lambda: events(server, "settings_read"))
        assert read["renewed_files"] == ["tls_cert", "tls_key"]
        assert _shown(server, ca) == wanted
        with Client(server.address, ca=ca) as client:
            client.extrapolate("lcpfn", CURVE)
        assert server.workers == workers


def _shown(server: Server, ca: Path) -> bytes:
    import ssl

    host, _, port = server.address.rpartition(":")
    return ssl.get_server_certificate((host, int(port)), ca_certs=str(ca)).encode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tls-cert", "missing.pem", "--tls-key", "missing.pem"], "missing.pem"),
        (["--tls-cert", "missing.pem"], "tls_cert and tls_key go together"),
        (["--workers", "0"], "workers"),
        (["--config", "missing.toml"], "missing.toml"),
    ],
)
def test_a_start_that_cannot_be_is_refused_with_one_line(tmp_path, arguments, said):
    refused = subprocess.run(
        [*COMMAND, "--grpc-port", "0", "--http-port", "0", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert refused.returncode in (1, 2)
    assert refused.stdout == ""
    spoken = [line for line in refused.stderr.splitlines() if not line.startswith("{")]
    assert len(spoken) == 1
    assert said in spoken[0]
