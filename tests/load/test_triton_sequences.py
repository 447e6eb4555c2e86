"""Sequences by Triton's own client and load generator, in their own environment."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.load.sequences import ATOL, MODEL, reference, sequence_server
from tests.load.watching import total

pytestmark = pytest.mark.peers
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def peers():
    from benchmarks.load import peers

    if not peers.PERF_ANALYZER.exists() or not peers.LIBRARIES.exists():
        pytest.skip(peers.ABSENT)
    return peers


@pytest.fixture(scope="module")
def artefact(published):
    return published("recurrent")


@pytest.fixture(scope="module")
def server(peers, artefact, tmp_path_factory):
    with sequence_server(tmp_path_factory.mktemp("triton"), artefact) as running:
        yield running


def test_tritonclient_drives_sequences(server, peers, artefact):
    command = [peers.TRITON, HERE / "triton_sequences.py", server.address, MODEL]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert {"sequence", "sequence(string_id)"} <= set(said["extensions"])
    assert said["batching"] == ["sequence_batching"]
    assert said["unknown"] == "StatusCode.INVALID_ARGUMENT"
    wanted = reference(artefact)(np.linspace(-1, 1, 24).reshape(12, 2))
    for made in (said["number"], said["string"], *said["stream"].values()):
        np.testing.assert_allclose(made, wanted, rtol=ATOL, atol=ATOL)


@pytest.mark.parametrize("streaming", [False, True], ids=["unary", "stream"])
def test_perf_analyzer_drives_sequences(server, peers, streaming):
    """Four at once, twenty requests each by its default; it finds out itself that it must."""
    before = total(server, "foretoken_sessions_live")
    command = [
        *(peers.PERF_ANALYZER, "-m", MODEL, "-i", "grpc", "-u", server.address),
        *("--shape", "values:1,2", "--input-data", "zero", "--concurrency-range", "4"),
        *("-p", "1000", "-s", "999", "-r", "3", *(["--streaming"] if streaming else [])),
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
    (sequences,) = re.findall(r"Sequence count: (\d+)", done.stdout)
    assert int(sequences) > 0
    assert "failed" not in done.stdout.lower()
    # Those that it was in the midst of when it stopped stay until nobody has used them for long.
    assert total(server, "foretoken_sessions_live") - before <= 8
