"""Sessions' states in their database: each function is a few statements in a transaction.

A row has an epoch. Whoever begins a session or claims it gets a new one, no epoch is given out
twice, and what comes with another than the row's is refused: so one process at a time writes a
session, and whoever has lost it is told.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from foretoken.server.sessions.schema import epochs, sessions

__all__ = [
    "BATCH",
    "Found",
    "Saved",
    "accepted",
    "drop",
    "get",
    "look",
    "next_epoch",
    "put",
    "renew",
    "take",
]

BATCH = 500  # rows that are read, or named, by one statement
Kind = Literal["durable", "idle", "drained"]
_C = sessions.c
_MINE = (_C.session == bindparam("its")) & (_C.epoch == bindparam("own"))


@dataclass(frozen=True)
class Saved:
    """The state of a session on the disk.

    Args:
        session: id of the session, at most 200 bytes; whoever makes it up makes it unlike others.
        tenant: whose it is; None: of callers without a tenant.
        epoch: from ``begin`` or ``claim``; 0: of a session that has never been on the disk.
        model: registered name.
        version: number of the version that it is pinned to.
        manifest: digest of that version's manifest.
        step: observations that the state has seen.
        data: a snapshot's bytes; empty: the state before the first observation.
        kind: why it is there: "durable" sessions always are, "idle" ones left their slot to
            others, "drained" ones wait for another worker.
        expires: when it is erased, UTC; None: never.
        about: what whoever claims it wants to know besides; opaque.
    """

    session: str
    tenant: str | None
    epoch: int
    model: str
    version: int
    manifest: str
    step: int
    data: bytes
    kind: Kind
    expires: datetime | None = None
    about: str = ""


class Found(NamedTuple):
    """What decides whether a row may be written."""

    tenant: str | None
    epoch: int
    step: int
    expires: datetime | None
    gone: datetime | None

    def over(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= now


def next_epoch(connection: Connection) -> int:
    """A number above all that were given out before, also by a database that this one replaced."""
    now = time.time_ns() // 1_000_000
    newer = update(epochs).values(last=func.max(epochs.c.last + 1, now)).returning(epochs.c.last)
    number: int = connection.execute(newer).scalar_one()
    return number


def look(connection: Connection, ids: Iterable[str]) -> dict[str, Found]:
    """Those of these sessions that have a row."""
    columns = (_C.session, _C.tenant, _C.epoch, _C.step, _C.expires, _C.gone)
    found: dict[str, Found] = {}
    for some in _batches(ids):
        for row in connection.execute(select(*columns).where(_C.session.in_(some))):
            found[row[0]] = Found(*row[1:])
    return found


def get(connection: Connection, ids: Iterable[str]) -> dict[str, tuple[Found, Saved]]:
    """The rows of those of these sessions that have one, whoever they belong to."""
    wanted = (select(sessions).where(_C.session.in_(some)) for some in _batches(ids))
    return {row.session: _read(row) for each in wanted for row in connection.execute(each)}


def _read(row: Row[Any]) -> tuple[Found, Saved]:
    saved = Saved(
        row.session,
        row.tenant,
        row.epoch,
        row.name,
        row.version,
        row.manifest,
        row.step,
        row.data,
        row.kind,
        row.expires,
        row.about,
    )
    return Found(row.tenant, row.epoch, row.step, row.expires, row.gone), saved


def accepted(
    there: Mapping[str, Found], states: Sequence[Saved], now: datetime
) -> tuple[list[bool], list[Saved]]:
    """Which states the rows that are there allow.

    Args:
        there: by session.
        states: later ones of a session behind earlier ones.
        now: expired rows are as none.

    Returns:
        For each state, whether the disk will have it or a later one; and those to be written, the
        last of each session.
    """
    verdicts, last = [], dict[str, Saved]()
    for state in states:
        before = last.get(state.session)
        if before is None or (before.epoch, before.tenant) != (state.epoch, state.tenant):
            found = there.get(state.session)
            fine = _allowed(found, state, now)
            newer = fine and (state.epoch == 0 or found is None or state.step >= found.step)
        else:
            fine, newer = True, state.step >= before.step
        verdicts.append(fine)
        if newer:
            last[state.session] = state
    return verdicts, list(last.values())


def _allowed(found: Found | None, state: Saved, now: datetime) -> bool:
    if state.epoch == 0:
        return found is None or found.over(now)
    if found is None or found.gone is not None:
        return False
    return (found.epoch, found.tenant) == (state.epoch, state.tenant)


def put(connection: Connection, fresh: Sequence[Saved], changed: Sequence[Saved]) -> None:
    """Write rows.

    Args:
        connection: in a transaction.
        fresh: in the place of whatever has that id, each with an epoch.
        changed: of which only the state and what comes with it is another.
    """
    for some in _batches(each.session for each in fresh):
        connection.execute(delete(sessions).where(_C.session.in_(some)))
    if fresh:
        connection.execute(insert(sessions), [_row(each) for each in fresh])
    if changed:
        mine = update(sessions).where(_C.session == bindparam("its"))
        connection.execute(mine, [{"its": each.session, **_state(each)} for each in changed])


def take(connection: Connection, ids: Iterable[str]) -> int:
    """Give rows a new epoch, so that their former owners cannot write them any more."""
    epoch = next_epoch(connection)
    for some in _batches(ids):
        connection.execute(update(sessions).where(_C.session.in_(some)).values(epoch=epoch))
    return epoch


def renew(connection: Connection, owned: Mapping[str, int], expires: datetime | None) -> None:
    """Set when rows expire, of those with the epoch given."""
    if owned:
        newer = update(sessions).where(_MINE).values(expires=expires)
        connection.execute(newer, _named(owned))


def renew_idle(connection: Connection, ids: Iterable[str], expires: datetime | None) -> None:
    """Set when rows of idle sessions expire."""
    for some in _batches(ids):
        idle = _C.session.in_(some) & (_C.kind == "idle")
        connection.execute(update(sessions).where(idle).values(expires=expires))


def drop(connection: Connection, owned: Mapping[str, int]) -> None:
    """Delete rows, of those with the epoch given."""
    if owned:
        connection.execute(delete(sessions).where(_MINE), _named(owned))


def _batches(values: Iterable[Any]) -> Iterator[list[Any]]:
    """What a statement can name at once: SQLite bounds how many parameters one has."""
    listed = list(values)
    return (listed[start : start + BATCH] for start in range(0, len(listed), BATCH))


def _named(owned: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"its": session, "own": epoch} for session, epoch in owned.items()]


def _state(saved: Saved) -> dict[str, Any]:
    return {
        "step": saved.step,
        "kind": saved.kind,
        "about": saved.about,
        "size": len(saved.data),
        "expires": saved.expires,
        "data": saved.data,
    }


def _row(saved: Saved) -> dict[str, Any]:
    return {
        "session": saved.session,
        "tenant": saved.tenant,
        "epoch": saved.epoch,
        "name": saved.model,
        "version": saved.version,
        "manifest": saved.manifest,
        "gone": None,
        **_state(saved),
    }
