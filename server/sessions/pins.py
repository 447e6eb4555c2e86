"""Which versions live sessions need: what each process says of its own, for a few seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select

from foretoken.server.sessions.schema import pins

__all__ = ["pin", "pinned"]

Counts = Mapping[tuple[str, int], int]  # sessions by model and version
_P = pins.c


def pin(connection: Connection, process: str, counts: Counts, until: datetime) -> None:
    """Say of a process which versions its sessions need, and of no others."""
    connection.execute(delete(pins).where(_P.process == process))
    if counts:
        said = [
            {"process": process, "name": n, "version": v, "sessions": count, "until": until}
            for (n, v), count in counts.items()
        ]
        connection.execute(insert(pins), said)


def pinned(connection: Connection, name: str, version: int, now: datetime) -> int:
    """How many live sessions need a version, as far as processes have said."""
    mine = (_P.name == name) & (_P.version == version) & (_P.until > now)
    return connection.scalar(select(func.sum(_P.sessions)).where(mine)) or 0
