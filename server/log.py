"""The log: one JSON object a line on stderr, written by a thread of its own.

Records say who called what and how it ended; never what was sent or answered. A record costs the
event loop one tuple: many are formatted together, which is cheaper than one now and then. A stderr
that is slow or broken costs it nothing either: what does not fit into the buffer is dropped, and
how much is said once something can be written again.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import threading
import time
import traceback
from collections import deque
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Literal

__all__ = ["Level", "Log", "describe_bug"]

Level = Literal["info", "warning", "error"]

FLUSH_SECONDS = 0.1
RECORDS = 1 << 15  # most that wait to be written; about 8 MiB
FRAMES = 20  # of a traceback, the innermost ones
TEXT = 300  # characters of a foreign error's message

# Of an event: time, level, name, other fields as JSON. Of a call: time and the arguments of `rpc`.
_Record = (
    tuple[float, str, str, str] | tuple[float, str, str, Level, str, str, float, str, int, str]
)

# Their messages quote the value that was wrong, and that may be the caller's.
_QUOTING = (ValueError, TypeError, LookupError)


class Log:
    """Writes records; every method may be called from any thread and returns at once.

    Args:
        keep: "all", or "errors" to leave out calls that went well.
        fd: file descriptor to write to.
        flush: seconds between writes.
    """

    def __init__(
        self, keep: Literal["all", "errors"] = "all", fd: int = 2, flush: float = FLUSH_SECONDS
    ) -> None:
        self.every = keep == "all"
        self._fd = fd
        self._flush = flush
        self._records: deque[_Record] = deque()
        self._dropped = 0  # and not yet said
        self._counting = threading.Lock()
        self._broken = False  # whether the last write failed
        self._clock = (0, "")  # the current second, as a number and as a record's beginning
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="foretoken-log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def event(self, name: str, level: Level = "info", **fields: Any) -> None:
        """Record that something happened; values that JSON does not know appear as their text."""
        more = json.dumps(fields, default=str)[1:-1]
        self._add((time.time(), level, name, f", {more}" if more else ""))

    def rpc(
        self,
        method: str,
        code: str,
        level: Level,
        request_id: str,
        caller: str,
        seconds: float,
        model: str = "",
        version: int = 0,
        error: str = "",
    ) -> None:
        """Record the end of a call.

        Args:
            method: full name, "/package.Service/Method".
            code: name of its gRPC status.
            level: whether it went well, was refused, or failed by a fault of ours.
            request_id: of the call.
            caller: name of the token.
            seconds: that it took.
            model: that answered, or "".
            version: that answered.
            error: name of the error's class, or "".
        """
        self._add(
            (time.time(), method, code, level, request_id, caller, seconds, model, version, error)
        )

    def close(self) -> None:
        """Write what is left; a reader that does not read is given up after a second."""
        atexit.unregister(self.close)
        self._closing.set()
        self._thread.join(timeout=1.0)

    def _add(self, record: _Record) -> None:
        if len(self._records) < RECORDS:
            self._records.append(record)
        else:
            self._lost(1)

    def _lost(self, records: int) -> None:
        with self._counting:
            self._dropped += records

    def _run(self) -> None:
        while not self._closing.wait(self._flush):
            self._write()
        self._write()

    def _write(self) -> None:
        size = 0
        lines: list[str] = []
        for _ in range(len(self._records)):
            line = self._line(self._records.popleft())
            if lines and size + len(line) > select.PIPE_BUF:
                self._send(lines)
                size, lines = 0, []
            size += len(line)
            lines.append(line)
        self._send(lines)
        if not self._broken:
            with self._counting:
                lost, self._dropped = self._dropped, 0
            if lost:
                more = f', "records": {lost}'
                self._send([self._line((time.time(), "warning", "log_dropped", more))], lost)

    def _send(self, lines: list[str], stands_for: int = 0) -> None:
        """Write lines in one piece, so that those of several workers do not mix on one pipe.

        Args:
            lines: whole ones.
            stands_for: how many records they are; 0 for one each.
        """
        data = memoryview("".join(lines).encode())
        try:
            while data:
                try:
                    data = data[os.write(self._fd, data) :]
                except BlockingIOError:
                    select.select([], [self._fd], [])
            self._broken = False
        except OSError:  # nobody reads any more; the work goes on without
            self._broken = True
            self._lost(stands_for or len(lines))

    def _line(self, record: _Record) -> str:
        """A record as JSON, by hand because json.dumps takes several times as long."""
        if len(record) == 4:
            now, level, event, more = record
            return f"{self._head(now, level)}{quoted(event)}{more}}}\n"
        now, method, code, level, request_id, caller, seconds, model, version, error = record
        answered = f', "model": {quoted(model)}, "version": {version}' if model else ""
        failed = f', "error": "{error}"' if error else ""
        return (
            f'{self._head(now, level)}"rpc", "request_id": {quoted(request_id)}, '
            f'"method": "{method}", "code": "{code}", "caller": {quoted(caller)}, '
            f'"seconds": {seconds:.6f}{answered}{failed}}}\n'
        )

    def _head(self, now: float, level: str) -> str:
        second, beginning = self._clock
        if not second <= now < second + 1:
            second = int(now)
            beginning = time.strftime('{"time": "%Y-%m-%dT%H:%M:%S.', time.gmtime(second))
            self._clock = second, beginning
        return f'{beginning}{int((now - second) * 1000):03d}Z", "level": "{level}", "event": '


def describe_bug(error: BaseException) -> dict[str, Any]:
    """What the log keeps of an error that nobody foresaw: its kind, where it was, and its text.

    The text of errors that quote the value they refuse is left out, for it may be a payload.
    """
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    said = "" if isinstance(error, _QUOTING) else str(error)[:TEXT]
    cause = error.__cause__ or error.__context__
    described = {
        "kind": f"{type(error).__module__}.{type(error).__qualname__}",
        "text": said,
        "traceback": [f"{f.filename}:{f.lineno} {f.name}" for f in frames],
    }
    return described | ({"cause": describe_bug(cause)} if cause is not None else {})
