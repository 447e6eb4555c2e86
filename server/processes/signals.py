"""Signals as things to read: a handler only notes them, and wakes whoever waits."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections import Counter
from collections.abc import Iterator

__all__ = ["Signals"]

HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Signals:
    """Notes the signals that a supervisor lives by; ``line`` is readable when there was one."""

    def __init__(self) -> None:
        self.line, self._far = socket.socketpair()
        self.line.setblocking(False)
        self._far.setblocking(False)
        self._noted: Counter[signal.Signals] = Counter()

    @contextlib.contextmanager
    def heard(self) -> Iterator[Signals]:
        """Note signals for the length of the block, which must be in the main thread."""
        before = {number: signal.signal(number, self._note) for number in HEARD}
        wakeup = signal.set_wakeup_fd(self._far.fileno(), warn_on_full_buffer=False)
        try:
            yield self
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self.line.close()
            self._far.close()

    def take(self) -> Counter[signal.Signals]:
        """Those noted since the last time, with how often."""
        with contextlib.suppress(BlockingIOError):
            while self.line.recv(4096):
                pass
        taken, self._noted = self._noted, Counter()
        return taken

    def _note(self, number: int, _frame: object) -> None:
        self._noted[signal.Signals(number)] += 1
