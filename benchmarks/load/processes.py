"""Processes under measurement: started on given cores, looked at from outside, stopped for sure."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load.generator import Job, Result

__all__ = ["CLIENT", "SERVER", "Watched", "free_port", "generate", "generating", "started"]

ROOT = Path(__file__).resolve().parents[2]
CORES = sorted(os.sched_getaffinity(0))
SERVER, CLIENT = CORES[0], CORES[-1]  # of the measured server, and of the load
TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 60.0  # seconds for a server to come up


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Watched:
    """A running process and its descendants."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid

    def pids(self) -> list[int]:
        """Its own and those of its descendants."""
        found = [self.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
        return found

    def cpu(self) -> float:
        """Processor seconds of all of them since they began."""
        return sum(_cpu(pid) for pid in self.pids())

    def memory(self, kind: str = "Rss") -> float:
        """MiB of all of them: "Rss", or "Pss", which shares out what several map."""
        return sum(memory(pid, kind) for pid in self.pids())


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid: int, kind: str = "Rss") -> float:
    """MiB of one process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(kind)


def pinned(command: Sequence[str | Path], cores: Sequence[int]) -> list[str]:
    """The command on these cores; not by a function between fork and exec, which gRPC bars."""
    return ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)]


@contextmanager
def started(
    command: Sequence[str | Path],
    port: int,
    cores: Sequence[int] = (SERVER,),
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    cwd: Path = ROOT,
) -> Iterator[Watched]:
    """Run a server on ``cores`` until the block ends; entered when ``port`` accepts connections."""
    with open(log or os.devnull, "ab") as out:
        process = subprocess.Popen(
            pinned(command, cores),
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        _await_port(process, port, log)
        yield Watched(process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path | None) -> None:
    patience = time.monotonic() + PATIENCE
    while time.monotonic() < patience:
        if process.poll() is not None:
            said = log.read_text("utf-8", "replace")[-2000:] if log else ""
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {said}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen on {port}")


@contextmanager
def generating(job: Job, core: int = CLIENT) -> Iterator[Generating]:
    """Load that runs beside what the block does; ask for its ``result()`` at the end."""
    process = subprocess.Popen(
        pinned([sys.executable, "-m", "benchmarks.load.generator"], [core]),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(job.dumped())
    process.stdin.close()
    process.stdin = None  # or communicate() would write to it
    try:
        yield Generating(process)
    finally:
        process.kill()
        process.wait()


class Generating:
    """Load under way."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def result(self) -> Result:
        """Wait for the end."""
        out, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"the load generator ended with {self._process.returncode}")
        return Result(**json.loads(out))


def generate(job: Job, core: int = CLIENT) -> Result:
    """Run a job to its end on ``core``."""
    with generating(job, core) as load:
        return load.result()
