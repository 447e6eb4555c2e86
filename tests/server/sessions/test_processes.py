"""Several processes over one store: what was acknowledged holds, for one owner, after kill -9."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from foretoken.server.sessions.state import from_bytes
from foretoken.server.sessions.store import DATABASE
from tests.server.sessions.conftest import SECRET
from tests.server.sessions.states import ROOMY, saved

RESULT = Path(__file__).resolve().parents[3] / "benchmarks/results/session_kill.json"
COUNT = 32
BEGIN = """
import sys
from foretoken.server.sessions.store import SessionStore
from tests.server.sessions.states import ROOMY, saved, snapshot
store = SessionStore.open(sys.argv[1], lambda: sys.argv[2].encode())
"""
TOIL = """
name, count = sys.argv[3], int(sys.argv[4])
owned = {f"{name}{i}": store.claim(f"{name}{i}", None) for i in range(count)}
step = next(iter(owned.values()))[1].step
print("ready", flush=True)
while True:
    step += 1
    states = [saved(s, step, seed=i, epoch=o[0]) for i, (s, o) in enumerate(owned.items())]
    assert all(store.save(states))
    print("saved", step, flush=True)
    if step % 7 == 0:
        print("kept", store.keep(snapshot(step), name, ROOMY).id, flush=True)
"""
STRIVE = """
acknowledged = 0
print("ready", flush=True)
sys.stdin.readline()
while acknowledged < int(sys.argv[3]):
    epoch, found = store.claim("s", None)
    print("claimed", epoch, found.step, flush=True)
    step = found.step
    while store.save([saved("s", step + 1, epoch=epoch)]) == [True]:
        step += 1
        acknowledged += 1
        print("saved", epoch, step, flush=True)
        if acknowledged % 5 == 0:
            break  # claims it from itself
print("done", flush=True)
"""


def started(store_path, code, *arguments) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + code, str(store_path), SECRET.decode(), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def killed(path, name, lines) -> list[list[str]]:
    """What a process said until it was killed, behind that many lines."""
    said = []
    with started(path, TOIL, name, str(COUNT)) as process:
        for line in process.stdout:
            said.append(line.split())
            if len(said) == lines:
                process.send_signal(signal.SIGKILL)
                break
        said += [line.split() for line in process.stdout if line.endswith("\n")]
    assert process.returncode == -signal.SIGKILL
    assert said[0] == ["ready"]
    return said[1:]


def rounds(store, path, count) -> Counter[str]:
    choice, found = random.Random(count), Counter()
    assert all(store.save([saved(f"a{i}", 0, kind="idle") for i in range(COUNT)]))
    for _ in range(count):
        said = killed(path, "a", choice.randint(2, 40))
        claimed = [store.claim(f"a{i}", None)[1] for i in range(COUNT)]
        (step,) = {each.step for each in claimed}
        last = max((int(words[1]) for words in said if words[0] == "saved"), default=step)
        assert last <= step <= last + 1, "all that was acknowledged, of one save as a whole"
        assert {from_bytes(each.data).step for each in claimed} == {step}
        for words in said:
            if words[0] == "kept":
                assert from_bytes(store.read(words[1], "a")).step == 7
        found["kills"] += 1
        found["acknowledged saves and snapshots that are there"] += len(said)
        found["saves done but not yet said"] += step > last
    return found


def test_what_was_acknowledged_is_there_after_a_kill(store, tmp_path):
    rounds(store, tmp_path / DATABASE, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_kills(store, tmp_path):
    found = rounds(store, tmp_path / DATABASE, 100)
    RESULT.write_text(json.dumps(dict(found), indent=1) + "\n", "utf-8")


def striven(store, path, processes, saves) -> None:
    store.begin(saved("s"), ROOMY)
    workers = [started(path, STRIVE, str(saves)) for _ in range(processes)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = []
    for worker in workers:
        with worker:
            said += [line.split() for line in worker.stdout]
        assert worker.returncode == 0
    claims = sorted((int(w[1]), int(w[2])) for w in said if w[0] == "claimed")
    saves_ = sorted((int(w[1]), int(w[2])) for w in said if w[0] == "saved")
    steps = [step for _, step in saves_]
    assert steps == list(range(1, len(steps) + 1)), "each step once, by the newest owner in turn"
    for epoch, step in claims:
        assert step == max((s for e, s in saves_ if e < epoch), default=0), "and none was lost"
    assert store.claim("s", None)[1].step == steps[-1]


def test_two_processes_never_both_have_a_session(store, tmp_path):
    striven(store, tmp_path / DATABASE, 2, 30)


@pytest.mark.slow
def test_many_processes_never_both_have_a_session(store, tmp_path):
    striven(store, tmp_path / DATABASE, 4, 500)
