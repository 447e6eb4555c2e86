"""A worker that serves nothing, and does what a file says: ready, refuse, crash, stubborn, fork."""

import os
import signal
import sys
import time
from pathlib import Path

from foretoken.server.processes.lifeline import Lifeline


def main() -> None:
    lifeline = Lifeline(int(sys.argv[2]))
    order = lifeline.next()
    lifeline.next()
    how = Path(sys.argv[1]).read_text().strip()
    if how == "refuse":
        lifeline.say({"failed": {"kind": "InvalidInput", "message": "the queue is too short"}})
        sys.exit(1)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN if how == "stubborn" else lambda *_: sys.exit(0))
    if how == "fork" and os.fork() == 0:  # one that keeps whatever was open
        time.sleep(5)
        os._exit(0)
    lifeline.on_end(lambda: os._exit(0))
    lifeline.say({"ready": [{"name": "m", "version": order["settings"]["queue"], "task": "t"}]})
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
