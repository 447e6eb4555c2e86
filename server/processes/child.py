"""A worker as its supervisor sees it: a process that it has started, and the line to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path

from foretoken.server.processes.connections import longest_hand_over
from foretoken.server.processes.lifeline import CHUNK, Lines, Message
from foretoken.server.settings import Settings

__all__ = ["WORKER", "Child", "State"]

WORKER = (sys.executable, "-P", "-m", "foretoken.server.processes.worker")
START_SECONDS = 120.0  # longer than the slowest model takes to load and warm up
LAST_WORDS = 0.2  # seconds
KILL_SECONDS = 3.0  # after the time that a worker has to end its calls


class State(Enum):
    """Where a worker is in its life."""

    STARTING = auto()
    READY = auto()
    LEAVING = auto()


class Child:
    """One started worker. Only processes that are objects of this class are ever signalled.

    Args:
        number: no other worker of this server has or had it.
        generation: of the settings.
        settings: that it serves with.
        run: the run folder.
        command: that starts it; it is given the number of a file descriptor as last argument.
    """

    def __init__(
        self,
        number: int,
        generation: int,
        settings: Settings,
        run: Path,
        command: Sequence[str] = WORKER,
    ) -> None:
        self.number = number
        self.generation = generation
        self.settings = settings
        self.state = State.STARTING
        self.since = time.monotonic()  # in this state
        self.models: list[Message] = []
        self.failure: Message | None = None
        self._patience = 0.0  # seconds that it has until it drains
        self._lines = Lines()
        self.line, theirs = socket.socketpair()
        with theirs:
            # Its own process group: Ctrl-C in a terminal is for the supervisor, who says what ends.
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={"GRPC_VERBOSITY": "NONE", **os.environ},  # the log is JSON, line by line
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library may print must not come between the supervisor's lines
                process_group=0,
            )
        self.line.setblocking(False)
        self._say({"number": number, "run": str(run), "settings": settings.model_dump(mode="json")})

    @property
    def handing_over(self) -> bool:
        """Whether it has been asked to wait until its callers go."""
        return self.state is State.LEAVING and self._patience > 0

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def go(self) -> None:
        """The data dir is in order: open it and serve."""
        self.since = time.monotonic()  # what it had to wait for is not its fault
        self._say({"go": True})

    def hear(self) -> bool:
        """Take in what the worker has said; False once it will say no more."""
        try:
            data = self.line.recv(CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for message in self._lines.feed(data):
            if "ready" in message and self.state is State.STARTING:
                self._become(State.READY)
                self.models = message["ready"]
            elif "failed" in message:
                self.failure = message["failed"]
        return bool(data)

    def leave(self, *, hand_over: bool = False) -> None:
        """Ask it to end its calls and go, or first to wait until its callers go to others."""
        self._patience = longest_hand_over(self.settings) if hand_over else 0.0
        self._become(State.LEAVING)
        self.signal(signal.SIGUSR1 if hand_over else signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def ended(self) -> bool:
        """Whether the process is no more."""
        return self.process.poll() is not None

    def close(self) -> None:
        """Hear what the ended process said last, and close the line."""
        self.line.settimeout(
            LAST_WORDS
        )  # for the case that a process which it started has the line
        while self.hear():
            pass
        self.line.close()

    def overdue(self) -> float:
        """When it must be killed, by ``time.monotonic``."""
        if self.state is State.STARTING:
            return self.since + START_SECONDS
        if self.state is State.LEAVING:
            return self.since + self._patience + self.settings.drain + KILL_SECONDS
        return float("inf")

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.process.returncode
        if code is not None and code < 0:
            return f"signal {signal.Signals(-code).name}"
        return f"exit status {code}"

    def _become(self, state: State) -> None:
        self.state = state
        self.since = time.monotonic()

    def _say(self, message: Message) -> None:
        with contextlib.suppress(OSError):
            self.line.sendall(Lines.encode(message))
