"""A worker: one process that serves until it is told to end or its supervisor is gone.

``python -m foretoken.server.processes.worker FD``, FD being its end of the line to the supervisor.
The first message has the settings; the second says that the data dir is in order. Imports of what
serves take most of the time until it is ready, so they happen between the two.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretoken.errors import ForetokenError
from foretoken.server.log import Log, describe_bug
from foretoken.server.processes.lifeline import Lifeline, Message
from foretoken.server.settings import Settings

if TYPE_CHECKING:
    from foretoken.server.processes.serving import Serving

# Allocations between collections. What lives since the start, 80,000 objects, is left alone: a full
# collection that looks at it again takes 50 ms, in which nobody is answered.
GC = (50_000, 20, 50)
MARGIN = 1.5  # seconds beyond the drain until a worker that still lives ends itself
ENDED_AT_ONCE = 1
ENDS = (signal.SIGTERM, signal.SIGINT)
HAND_OVER = signal.SIGUSR1


class _ToLog(logging.Handler):
    """Passes on what the server's own modules say by the standard library's logging."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self._log.event(record.name, "error", text=record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._log.event(record.name, "warning", text=record.getMessage())
        else:
            self._log.event(record.name, "info", text=record.getMessage())


class _End:
    """Waits for the end to be asked for.

    To ask again changes nothing: service managers signal every process of a server, and then the
    supervisor asks as well. Whoever is in a hurry tells the supervisor, which kills.
    """

    def __init__(self, lifeline: Lifeline, drain: float) -> None:
        self.asked = asyncio.Event()
        self.now = asyncio.Event()  # else callers may first go to other workers
        self._drain = drain
        loop = asyncio.get_running_loop()
        for number in ENDS:
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(HAND_OVER, self.asked.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # the supervisor's business
        lifeline.on_end(self._abandoned)

    def _end(self) -> None:
        if self.now.is_set():
            return
        self.now.set()
        self.asked.set()
        self._bound()

    def _abandoned(self) -> None:
        """The supervisor is gone: end as if asked. In another thread; the loop may be stuck."""
        self._bound()
        if not self.now.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    def _bound(self) -> None:
        timer = threading.Timer(self._drain + MARGIN, os._exit, (ENDED_AT_ONCE,))
        timer.daemon = True
        timer.start()


async def _serve(serving: Serving, settings: Settings, lifeline: Lifeline) -> None:
    end = _End(lifeline, settings.drain)
    models = await serving.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC)
    lifeline.say({"ready": models})
    await end.asked.wait()
    if not end.now.is_set():
        handing_over = asyncio.ensure_future(serving.hand_over())
        asked = asyncio.ensure_future(end.now.wait())
        await asyncio.wait([handing_over, asked], return_when=asyncio.FIRST_COMPLETED)
        for task in (handing_over, asked):
            task.cancel()
    await serving.stop()


def _runner() -> asyncio.Runner:
    try:
        import uvloop  # noqa: PLC0415
    except ModuleNotFoundError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _work(lifeline: Lifeline, order: Message, settings: Settings, log: Log) -> None:
    # Long imports, most of the time of a start; meanwhile the data dir is brought in order.
    from foretoken.server.processes.serving import Serving  # noqa: PLC0415
    from foretoken.server.runtimes import runtime  # noqa: PLC0415

    runtime(settings.runtime)
    lifeline.next()
    with _runner() as runner:

        async def main() -> None:
            serving = Serving(settings, Path(order["run"]), order["number"], log)
            await _serve(serving, settings, lifeline)

        runner.run(main())


def main(fd: int) -> int:
    """Serve; returns the exit status."""
    lifeline = Lifeline(fd)
    order = lifeline.next()
    settings = Settings(**order["settings"])
    log = Log(settings.log)
    logging.getLogger("foretoken").addHandler(_ToLog(log))
    logging.getLogger("foretoken").setLevel(logging.INFO)
    try:
        _work(lifeline, order, settings, log)
    except Exception as e:
        failed: dict[str, Any] = {"kind": type(e).__name__, "message": str(e)}
        if not isinstance(e, ForetokenError):
            log.event("worker_failed", "error", **describe_bug(e))
            failed["message"] = f"{type(e).__name__}: {e}"
        lifeline.say({"failed": failed})
        return 1
    finally:
        log.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
