"""Runs a supervisor over stand-ins: ``supervised.py CONFIG HOW``; prints READY and the models."""

import sys
from pathlib import Path

from foretoken.errors import ForetokenError
from foretoken.server.log import Log
from foretoken.server.processes.changes import Asked
from foretoken.server.processes.claims import claimed
from foretoken.server.processes.supervisor import Supervisor
from foretoken.server.settings import load_settings


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(config: Path, how: str) -> None:
    settings = load_settings(config)
    log = Log()
    asked = Asked(settings, lambda: load_settings(config))
    command = [sys.executable, str(Path(__file__).with_name("stand_in.py")), how]
    try:
        with claimed(settings) as (own, run):
            Supervisor(
                own,
                asked,
                run,
                log,
                announce=lambda _settings, models: say("READY", models),
                command=command,
            ).run()
    except ForetokenError as e:
        say("REFUSED", type(e).__name__, e)
        sys.exit(1)
    finally:
        log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
