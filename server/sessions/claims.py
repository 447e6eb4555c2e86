"""Sessions' states on the disk: written many at a time, by whoever has a session at the time."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import Connection

from foretoken.errors import AlreadyExists, DataLoss, ForetokenError, InvalidInput, NotFound
from foretoken.server.sessions import accounts, saved
from foretoken.server.sessions.keeping import (
    Budgets,
    States,
    deleted,
    expect_room,
    expect_version,
)
from foretoken.server.sessions.saved import Found, Kind, Saved
from foretoken.server.sessions.state import expect_whole

__all__ = ["SavedSessions", "no_session"]

T = TypeVar("T")
LONGEST_ID = 200  # bytes of a session's


def no_session(session: str) -> NotFound:
    """What is said of a session that cannot be gone on with, or is another tenant's."""
    return NotFound(
        f"no session {session[:LONGEST_ID]!r} to go on with; it was closed, has expired or was not "
        "durable when its worker ended: begin a new one, from a snapshot if there is one"
    )


class SavedSessions(States):
    """The states of sessions that live or wait to."""

    def begin(self, new: Saved, budgets: Budgets) -> int:
        """Have a session on the disk from now on; one of that id that the tenant has ends there.

        Args:
            new: its state; the epoch in it says nothing.
            budgets: what there is room for.

        Returns:
            The epoch that its saves are to come with.

        Raises:
            InvalidInput: if the id is empty or too long.
            AlreadyExists: if another tenant has a session of that id.
            FailedPrecondition: if its version has been deleted.
            Overloaded: if the tenant's quota does not allow it.
            Unavailable: if the data dir cannot be written.
        """
        return _only(self.begin_all([new], budgets))

    def begin_all(self, new: Sequence[Saved], budgets: Budgets) -> list[int | ForetokenError]:
        """``begin`` for many, in one transaction; what it would raise is returned instead."""
        now, epochs = datetime.now(UTC), list[int | ForetokenError]()
        with self.writing() as connection:
            for each in new:
                try:
                    epochs.append(_begin(connection, each, budgets, now))
                except ForetokenError as e:
                    epochs.append(e)
        return epochs

    def save(self, states: Sequence[Saved]) -> list[bool]:
        """Write many sessions' states at once; all of them are durable when this returns.

        Args:
            states: later ones of a session come behind earlier ones. With epoch 0, a row is made
                for a session that has none; whoever wants to go on with it claims it.

        Returns:
            For each, whether what is on the disk is this state or a later one of the same session;
            False: somebody else has claimed the session, or it was erased.

        Raises:
            InvalidInput: if an id is empty or too long.
            Unavailable: if the data dir cannot be written; nothing is, then.
        """
        for each in states:
            _expect_id(each.session)
        now = datetime.now(UTC)
        with self.writing() as connection:
            there = saved.look(connection, {each.session for each in states})
            deleted = {
                version
                for version in {(each.model, each.version) for each in states if not each.epoch}
                if accounts.gone(connection, *version)
            }
            alive = [each.epoch > 0 or (each.model, each.version) not in deleted for each in states]
            kept = [each for each, lives in zip(states, alive, strict=True) if lives]
            verdicts, writes = saved.accepted(there, kept, now)
            changed = [each for each in writes if each.epoch]
            if len(changed) < len(writes):
                epoch = saved.next_epoch(connection)
                fresh = [replace(each, epoch=epoch) for each in writes if not each.epoch]
            else:
                fresh = []
            saved.put(connection, fresh, changed)
        said = iter(verdicts)
        return [lives and next(said) for lives in alive]

    def claim(self, session: str, tenant: str | None) -> tuple[int, Saved]:
        """Take a session over: from now on its former owner's saves are refused.

        Returns:
            The epoch that saves are to come with, and what is on the disk.

        Raises:
            NotFound: if the tenant has no such session there, or it has expired.
            FailedPrecondition: if its version was deleted, and its data with it.
            DataLoss: if its bytes are not those that were saved; it is not taken over then.
        """
        taken = _only(self.claim_all([(session, tenant)]))
        return taken.epoch, taken

    def claim_all(
        self, wanted: Sequence[tuple[str, str | None]], erase: Container[Kind] = ()
    ) -> list[Saved | ForetokenError]:
        """``claim`` for many, in one transaction; what it would raise is returned instead.

        Args:
            wanted: sessions and their tenants, each session once.
            erase: kinds that leave the disk, to live in memory alone; their epoch is 0 then.
        """
        now = datetime.now(UTC)
        with self.writing() as connection:
            rows = saved.get(connection, [session for session, _ in wanted])
            found = [_claimed(*each, rows.get(each[0]), now) for each in wanted]
            there = [state for state in found if isinstance(state, Saved)]
            stay = [state.session for state in there if state.kind not in erase]
            epoch = saved.take(connection, stay) if stay else 0
            saved.drop(connection, {s.session: s.epoch for s in there if s.kind in erase})
        return [
            replace(state, epoch=0 if state.kind in erase else epoch)
            if isinstance(state, Saved)
            else state
            for state in found
        ]

    def renew(
        self, owned: Mapping[str, int], expires: datetime | None, aside: Sequence[str] = ()
    ) -> None:
        """Set when sessions expire that are in use but not saved; those lost to others are left.

        Args:
            owned: epoch by session.
            expires: UTC; None: never.
            aside: idle sessions, whatever their epochs.
        """
        with self.writing() as connection:
            saved.renew(connection, owned, expires)
            saved.renew_idle(connection, aside, expires)

    def drop(self, owned: Mapping[str, int]) -> None:
        """Erase the states of sessions that have ended; those lost to others are left.

        Args:
            owned: epoch by session.
        """
        with self.writing() as connection:
            saved.drop(connection, owned)


def _begin(connection: Connection, new: Saved, budgets: Budgets, now: datetime) -> int:
    _expect_id(new.session)
    found = saved.look(connection, [new.session]).get(new.session)
    if found is not None and found.tenant != new.tenant and not found.over(now):
        raise AlreadyExists(f"there is a session {new.session!r}; choose another id")
    expect_version(connection, new.model, new.version)
    expect_room(connection, new.tenant, len(new.data), budgets, now)
    epoch = saved.next_epoch(connection)
    saved.put(connection, [replace(new, epoch=epoch)], [])
    return epoch


def _claimed(
    session: str, tenant: str | None, row: tuple[Found, Saved] | None, now: datetime
) -> Saved | ForetokenError:
    """What a tenant may go on with, or why not."""
    if row is None or row[0].tenant != tenant or row[0].over(now):
        return no_session(session)
    found, state = row
    if found.gone is not None:
        return deleted(f"session {session!r}", state.model, state.version)
    try:
        if state.data:
            expect_whole(state.data)
    except (DataLoss, InvalidInput) as e:
        return DataLoss(f"what the data dir keeps of session {session!r} is damaged: {e}")
    return state


def _only(outcomes: Sequence[T | ForetokenError]) -> T:
    """The one outcome, or its error raised."""
    (outcome,) = outcomes
    if isinstance(outcome, ForetokenError):
        raise outcome
    return outcome


def _expect_id(session: str) -> None:
    size = len(session.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= LONGEST_ID:
        raise InvalidInput(f"a session's id has 1 to {LONGEST_ID} bytes, not {size}")
