"""A process that is killed loses nothing that was acknowledged and shows nothing half-done."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from sqlalchemy import event

from foretoken.server.registry.registry import Registry
from tests.server.registry.conftest import toy_signature, write_artefact
from tests.server.registry.killing import NAME, Judge, fork, heard, kill_rounds
from tests.server.registry.recording import RecordingDisk

RESULT = Path(__file__).resolve().parents[3] / "benchmarks/results/registry_kill.json"


def expect_nothing_wrong(judge: Judge) -> None:
    figures = judge.figures()
    assert judge.wrong == []
    assert list(figures.values())[:3] == [0, 0, 0]
    assert figures["registers acknowledged"] > 0
    assert figures["killed in register"] > 0
    assert sum(v for k, v in figures.items() if k.startswith("killed")) <= judge.kills


def test_kills_at_random_moments(tmp_path):
    expect_nothing_wrong(kill_rounds(15, tmp_path, seed=1))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_500_kills_at_random_moments(tmp_path):
    judge = kill_rounds(500, tmp_path, seed=2)
    RESULT.write_text(
        json.dumps({"kills": judge.kills, **judge.figures()}, indent=1) + "\n", "utf-8"
    )
    expect_nothing_wrong(judge)
    assert judge.counts["killed in alias set"] > 0
    assert judge.counts["versions left PENDING"] > 0
    assert judge.counts["files left half-written"] > 0


class Deadly:
    """Kills its own process at the ``n``-th step."""

    def __init__(self, n: int) -> None:
        self._left = n

    def step(self, *_: object) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


def register_once(data_dir: Path, artefact, deadly: Deadly, say) -> None:
    with Registry.open(data_dir, signature=toy_signature) as registry:
        registry._blobs._files = RecordingDisk([], deadly.step)
        event.listen(registry._database.engine, "commit", deadly.step)
        say({"begin": "register"})
        version = registry.register(NAME, artefact, check=deadly.step)
        say({"number": version.number, "digest": version.manifest_digest})


def test_a_kill_before_each_step_of_registering(tmp_path):
    """Every operation on a file, every commit and the check: one child dies before each."""
    judge = Judge(tmp_path / "data")
    Registry.open(judge.data_dir, signature=toy_signature).close()
    step, acknowledged = 0, False
    while not acknowledged:
        artefact = write_artefact(tmp_path / str(step), float(step))
        deadly = Deadly(step)
        child, pipe = fork(
            lambda say, a=artefact, d=deadly: register_once(judge.data_dir, a, d, say)
        )
        said = heard(pipe)
        _, status = os.waitpid(child, 0)
        acknowledged = status == 0
        assert acknowledged or os.WTERMSIG(status) == signal.SIGKILL
        judge.hear(said)
        judge.look()
        step += 1
    assert judge.wrong == []
    assert step > 25, "five blobs of five operations each, and two commits"
    assert judge.counts["versions left PENDING"] > 0
    assert judge.counts["files left half-written"] > 0
    assert judge.counts["orphaned blobs collected"] > 0
