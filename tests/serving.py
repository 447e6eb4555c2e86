"""A real server for tests: its own processes, free ports, an orderly end.

::

    with serving(workers=2) as server:
        grpc.insecure_channel(server.address)
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Server", "serving"]

COMMAND = (sys.executable, "-P", "-c", "from foretoken.cli import main; main()", "serve")
READY = re.compile(r"^foretoken is ready: gRPC (\S+), HTTP (\S+),", re.MULTILINE)
CONFIG = "settings.toml"
PATIENCE = 60.0  # seconds; a busy machine is no failure


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        address: of gRPC, "127.0.0.1:PORT".
        http: URL of the HTTP port, without a path.
        process: the supervisor.
        data_dir: of the server.
        log: file with what its processes wrote to stderr, JSON lines.
        out: file with what it printed.
    """

    address: str
    http: str
    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path
    out: Path

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self.process.pid

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers there are now."""
        return children_of(self.pid)

    def configure(self, text: str) -> None:
        """Change the configuration file and have it read: SIGHUP."""
        (self.out.parent / CONFIG).write_text(text, "utf-8")
        self.process.send_signal(signal.SIGHUP)

    def stop(self, patience: float = PATIENCE) -> int:
        """SIGTERM, unless it has ended; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience)


@contextmanager
def serving(
    *arguments: str,
    workers: int = 1,
    data_dir: Path | None = None,
    env: dict[str, str] | None = None,
    config: str | None = None,
) -> Iterator[Server]:
    """A server that is ready, stopped at the end.

    Args:
        arguments: more of ``foretoken serve``.
        workers: processes.
        data_dir: an existing one; the default is one of its own, removed afterwards.
        env: variables beside the caller's.
        config: text of a configuration file, which ``Server.configure`` changes.

    Raises:
        AssertionError: if it does not become ready, or leaves a process behind, or (unless the
            block ended it itself) does not end with status 0.
    """
    with tempfile.TemporaryDirectory(prefix="foretoken-test-") as folder:
        home = data_dir or Path(folder) / "data"
        if config is not None:
            file = Path(folder) / CONFIG
            file.write_text(config, "utf-8")
            arguments = ("--config", str(file), *arguments)
        server = _started(Path(folder), home, workers, arguments, env or {})
        seen: set[int] = set()
        try:
            yield server
            seen |= set(server.workers)
            if server.process.poll() is None:
                status = server.stop()
                assert status == 0, f"exit status {status}: {_tail(server.log)}"
        finally:
            seen |= set(server.workers)
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait()
        left = _left(seen)
        assert not left, f"processes left behind: {left}"
        assert not (home / "run").exists() or server.process.returncode < 0, "a run folder is left"


def _started(
    folder: Path, data_dir: Path, workers: int, arguments: tuple[str, ...], env: dict[str, str]
) -> Server:
    out, log = folder / "out", folder / "log"
    fixed = ["--host", "127.0.0.1", "--grpc-port", "0", "--http-port", "0"]
    command = [*COMMAND, *fixed, "--workers", str(workers), "--data-dir", str(data_dir), *arguments]
    with out.open("wb") as printed, log.open("wb") as logged:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=logged,
            env={**os.environ, **env},
        )
    end = time.monotonic() + PATIENCE
    while not (found := READY.search(out.read_text("utf-8"))):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            process.wait()
            raise AssertionError(f"the server did not become ready: {_tail(log)}")
        time.sleep(0.02)
    return Server(found[1], found[2], process, data_dir, log, out)


def children_of(pid: int) -> list[int]:
    """Process ids of a process's children; none if it is gone."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pid: int) -> bool:
    """Whether there is such a process, other than one that only waits to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _left(pids: set[int], patience: float = 10.0) -> list[int]:
    end = time.monotonic() + patience
    while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def _tail(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-3000:]
