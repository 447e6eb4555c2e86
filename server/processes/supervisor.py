"""The supervisor: starts workers, replaces those that die, and renews them with new settings.

It serves nothing itself. One thread; what happens is a signal, a line from a worker or the end of
one, and after each it does what is missing between the workers there are and those wanted. New
settings make a new generation of workers: one starts, and when it is ready one of the old leaves,
until all are new; if the first does not become ready, the old ones and their settings stay.
"""

from __future__ import annotations

import contextlib
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from foretoken import errors
from foretoken.errors import ForetokenError, Unavailable
from foretoken.server.log import Log
from foretoken.server.metrics.shares import worker_died
from foretoken.server.processes.backoff import Backoff
from foretoken.server.processes.changes import Asked
from foretoken.server.processes.child import WORKER, Child, State
from foretoken.server.processes.claims import METRICS
from foretoken.server.processes.lifeline import Message
from foretoken.server.processes.signals import Signals
from foretoken.server.settings import Settings

__all__ = ["Supervisor"]

TICK = 0.5  # seconds; the longest sleep
CRASHES = 3  # of workers in a row, none ever ready, that end the start
SAFETY = ("require_tokens", "tls_cert", "tls_key", "tls_client_ca")  # in force at once for all
Announce = Callable[[Settings, Sequence[Message]], None]


class Supervisor:
    """Keeps the workers of one server going; ``run`` returns when it has been stopped.

    Args:
        settings: with ports as numbers.
        asked: tells, on SIGHUP, which settings are wanted now.
        run: the run folder.
        log: takes what happens.
        prepare: brings the data dir in order while the first workers start.
        announce: is told once, when all workers are ready, of the models that they serve.
        command: that starts a worker.
    """

    def __init__(
        self,
        settings: Settings,
        asked: Asked,
        run: Path,
        log: Log,
        *,
        prepare: Callable[[], None] = lambda: None,
        announce: Announce = lambda _settings, _models: None,
        command: Sequence[str] = WORKER,
    ) -> None:
        self._settings = settings
        self._asked = asked
        self._run = run
        self._log = log
        self._prepare = prepare
        self._announce = announce
        self._command = command
        self._children: list[Child] = []
        self._started = 0
        self._generation = 0
        self._previous: Settings | None = None  # while nothing has shown that the new ones work
        self._prepared = False
        self._announced = False
        self._hand_over = True  # whether replaced workers may go on serving their callers
        self._stopping = False
        self._backoff = Backoff()
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends it at once.

        Raises:
            ForetokenError: what a worker said that could not start.
            Unavailable: if workers die at the start again and again, or it was ended at once.
        """
        with Signals().heard() as signals, self._selector:
            self._selector.register(signals.line, selectors.EVENT_READ)
            try:
                self._reconcile()
                self._prepare()
                self._prepared = True
                for child in self._children:
                    child.go()
                while self._children or not self._stopping:
                    self._wait()
                    self._obey(signals)
                    self._reap()
                    self._reconcile()
            finally:
                self._kill_all()

    # -- what happens -----------------------------------------------------------------------------

    def _wait(self) -> None:
        now = time.monotonic()
        due = min([child.overdue() for child in self._children] + [self._backoff.due], default=now)
        ahead = due - now if due > now else TICK
        for key, _ in self._selector.select(min(TICK, ahead)):
            child = key.data
            if child is not None and not child.hear():
                self._selector.unregister(child.line)
        for child in self._children:
            if child.overdue() < time.monotonic():
                self._log.event("worker_killed", "error", pid=child.pid, state=child.state.name)
                child.signal(signal.SIGKILL)

    def _obey(self, signals: Signals) -> None:
        noted = signals.take()
        ends = noted[signal.SIGTERM] + noted[signal.SIGINT]
        if noted[signal.SIGHUP] and self._asked.terminal_gone():
            ends += not self._stopping
        elif noted[signal.SIGHUP] and not self._stopping:
            self._renew()
        if not ends:
            return
        if self._stopping or ends > 1:
            raise Unavailable("stopped at once, on a second signal; calls in flight were lost")
        self._stopping = True
        self._log.event("server_draining", seconds=self._settings.drain)

    def _renew(self) -> None:
        """Take over new settings, if they are acceptable, by a new generation of workers."""
        changed = self._asked.renewed(self._settings, self._log)
        if changed is None:
            return
        if self._previous is None:
            self._previous = self._settings
        before, self._settings = self._settings, changed
        self._hand_over = all(getattr(before, name) == getattr(changed, name) for name in SAFETY)
        self._generation += 1
        self._log.every = changed.log == "all"

    def _reap(self) -> None:
        for child in [child for child in self._children if child.ended()]:
            self._children.remove(child)
            with contextlib.suppress(KeyError):
                self._selector.unregister(child.line)
            child.close()
            expected = child.state is State.LEAVING
            worker_died(self._run / METRICS, child.pid, restarted=not expected)
            for left in self._run.glob(f"worker-{child.number}.*"):  # its sockets, if it was killed
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)
            self._log.event(
                "worker_ended",
                "error" if child.process.returncode else "info",
                pid=child.pid,
                worker=child.number,
                how=child.ending(),
            )
            if not expected:
                self._lost(child)

    def _lost(self, child: Child) -> None:
        """A worker has ended that should not have."""
        if self._previous is not None and child.generation == self._generation:
            self._give_up_renewal(child)
        elif child.state is State.STARTING and not self._announced:
            if child.failure is not None:
                raise _error(child.failure)
            self._backoff.failed()
            if self._backoff.failures >= CRASHES + self._settings.workers - 1:
                raise Unavailable(
                    f"workers die at the start again and again, the last one with {child.ending()}"
                )
        else:
            lasted = 0.0 if child.state is State.STARTING else time.monotonic() - child.since
            self._backoff.failed(lasted)
            reason = (child.failure or {}).get("message", child.ending())
            self._log.event("worker_replaced", "error", reason=reason, wait=self._backoff.wait)

    def _give_up_renewal(self, child: Child) -> None:
        assert self._previous is not None
        reason = (child.failure or {}).get("message", child.ending())
        self._log.event("settings_refused", "error", reason=reason, kept="the settings before")
        for other in self._children:
            if other.generation == self._generation and other.state is State.STARTING:
                other.leave()
        self._settings, self._previous = self._previous, None
        self._asked.refused()
        self._log.every = self._settings.log == "all"
        self._generation = max(
            (other.generation for other in self._children if other.state is not State.LEAVING),
            default=self._generation,
        )

    # -- what is missing --------------------------------------------------------------------------

    def _reconcile(self) -> None:
        """Start and end workers until they are those that are wanted."""
        staying = [child for child in self._children if child.state is not State.LEAVING]
        if self._stopping:
            for child in self._children:
                if child in staying or child.handing_over:
                    child.leave()
            return
        new = [child for child in staying if child.generation == self._generation]
        old = [child for child in staying if child.generation != self._generation]
        ready = [child for child in new if child.state is State.READY]
        wanted = self._settings.workers
        at_once = 1 if old else wanted
        while len(new) < wanted and len(new) - len(ready) < at_once and self._backoff.over():
            new.append(self._start())
        for child in [*old[: max(0, len(ready) + len(old) - wanted)], *new[wanted:]]:
            self._log.event("worker_leaves", pid=child.pid, worker=child.number)
            child.leave(hand_over=self._hand_over and child.state is State.READY)
        if ready and self._previous is not None:
            self._previous = None
            self._asked.proven()
        if len(ready) == wanted and not self._announced:
            self._announced = True
            self._announce(self._settings, ready[0].models)

    def _start(self) -> Child:
        self._started += 1
        child = Child(
            self._started, self._generation, self._settings, self._run, command=self._command
        )
        self._children.append(child)
        self._selector.register(child.line, selectors.EVENT_READ, child)
        self._log.event("worker_started", pid=child.pid, worker=child.number)
        if self._prepared:
            child.go()
        return child

    def _kill_all(self) -> None:
        for child in self._children:
            child.signal(signal.SIGKILL)
        for child in self._children:
            child.process.wait()
            child.line.close()


def _error(failure: Message) -> ForetokenError:
    """What a worker has said, as the error that it was."""
    kind = getattr(errors, failure["kind"], None)
    if isinstance(kind, type) and issubclass(kind, ForetokenError):
        return kind(failure["message"])
    return Unavailable(f"a worker cannot start: {failure['message']}")
