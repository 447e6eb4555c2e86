"""Triton's own client and load generator against our server, in their own environment."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from foretoken.client import Client

pytestmark = pytest.mark.peers
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def peers():
    from benchmarks.load import peers

    if not peers.PERF_ANALYZER.exists() or not peers.LIBRARIES.exists():
        pytest.skip(peers.ABSENT)
    return peers


@pytest.fixture(scope="module")
def said(server, peers):
    command = [peers.TRITON, HERE / "triton_session.py", server.address]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_it_finds_a_live_server_and_its_extensions(said):
    assert said["live"] is True
    assert said["ready"] is True
    assert {"model_repository", "statistics"} <= set(said["server"]["extensions"])


def test_it_inspects_and_infers_on_every_model(server, said):
    with Client(server.address) as client:
        assert set(said["models"]) == {model.name for model in client.models()}
        mean = client.extrapolate("lcpfn", [0.1, 0.25, 0.4, 0.45], at=[5.0, 10.0, 50.0]).mean
    assert said["models"]
    for name, model in said["models"].items():
        assert model["ready"] is True
        assert model["config"] == name
        assert model["id"] == "7"
        # A sequence's outputs are its family's; some of a table's come where they are asked for.
        assert set(model["outputs"]) - set(model["made"]) <= {"context_id", "uncertainty"}
        assert model["made"]
        assert model["success"] >= 1
    np.testing.assert_allclose(said["models"]["lcpfn"]["mean"], mean, rtol=0, atol=1e-5)


def test_errors_carry_the_right_codes(said):
    # Refused at once as one that cannot be met, or found to have passed.
    late = said["errors"].pop("deadline")
    assert late in {"StatusCode.DEADLINE_EXCEEDED", "StatusCode.RESOURCE_EXHAUSTED"}
    assert said["errors"] == {
        "no model": "StatusCode.NOT_FOUND",
        "no version": "StatusCode.NOT_FOUND",
        "NaN": "StatusCode.INVALID_ARGUMENT",
        "dtype": "StatusCode.INVALID_ARGUMENT",
        "tensor": "StatusCode.INVALID_ARGUMENT",
        "sequence": "StatusCode.UNIMPLEMENTED",
        "shared memory": "StatusCode.UNIMPLEMENTED",
    }


def test_a_stream_survives_the_error_of_one_request(said):
    assert sorted(said["stream"]) == ["a", "c", "error"]


def test_it_unloads_and_loads(said):
    assert said["unloaded"] == [False, True]


def test_perf_analyzer_measures(server, peers, tmp_path):
    """Unary calls at two concurrencies, by its own defaults but for a shorter window."""
    report = tmp_path / "report.csv"
    command = [
        *(peers.PERF_ANALYZER, "-m", "lcpfn", "-i", "grpc", "-u", server.address),
        *("--shape", "values:20", "--shape", "steps:20", "--shape", "at:10"),
        *("--shape", "quantiles:3", "--input-data", curve(tmp_path), "-f", report),
        *("--concurrency-range", "1:2", "-p", "1000", "-s", "60", "-r", "4"),
    ]
    done = subprocess.run(
        list(map(str, command)),
        check=False,
        env=peers.environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(re.findall(r"^Concurrency: \d+, throughput: [1-9]", done.stdout, re.MULTILINE)) == 2
    rows = report.read_text().strip().splitlines()
    assert len(rows) == 3
    assert "failed" not in done.stdout.lower()


def curve(folder: Path) -> Path:
    """What perf_analyzer sends."""
    steps = np.arange(1.0, 21)
    values = (0.9 - 0.6 * steps**-0.5).tolist()
    data = {
        "values": values,
        "steps": steps.tolist(),
        "at": np.arange(21.0, 31).tolist(),
        "quantiles": [0.05, 0.5, 0.95],
    }
    path = folder / "curve.json"
    path.write_text(json.dumps({"data": [data]}), "utf-8")
    return path
