"""A server, from its settings to its end; the process that calls ``serve`` is its supervisor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from foretoken.server.log import Log
from foretoken.server.processes.changes import Asked
from foretoken.server.processes.claims import claimed, raise_file_limit
from foretoken.server.processes.supervisor import Announce, Supervisor
from foretoken.server.settings import Settings

__all__ = ["serve"]


def serve(settings: Settings, again: Callable[[], Settings], announce: Announce) -> None:
    """Serve until SIGTERM or SIGINT; must be called in the main thread.

    The bundled models are registered first. Returns after an orderly stop.

    Args:
        settings: to begin with; a port 0 takes a free one.
        again: reads the settings anew, on SIGHUP.
        announce: is told once, when all workers are ready, the settings with the ports taken, and
            of the models served.

    Raises:
        ForetokenError: why the server cannot start, or that it was ended at once.
    """
    raise_file_limit()
    log = Log(settings.log)
    try:
        with claimed(settings) as (own, run):
            asked = Asked(settings, again)
            Supervisor(
                own, asked, run, log, prepare=lambda: _prepare(own.data_dir), announce=announce
            ).run()
        log.event("server_stopped")
    finally:
        log.close()


def _prepare(data_dir: Path) -> None:
    """Bring the data dir in order: made or migrated, with the bundled models in it."""
    # Imported when the first workers are on their way, which import the same.
    from foretoken.server.registry.bundled import register_bundled  # noqa: PLC0415
    from foretoken.server.registry.registry import Registry  # noqa: PLC0415
    from foretoken.server.sessions.owners import FILE, settle  # noqa: PLC0415

    with Registry.open(data_dir) as registry:
        register_bundled(registry)
    settle(data_dir / FILE)
