"""Sessions' states on the disk: written many at a time, by whoever has a session at the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from foretoken.errors import AlreadyExists, DataLoss, InvalidInput, NotFound
from foretoken.server.sessions import accounts, saved
from foretoken.server.sessions.keeping import (
    Budgets,
    States,
    deleted,
    expect_room,
    expect_version,
)
from foretoken.server.sessions.saved import Saved
from foretoken.server.sessions.state import expect_whole

__all__ = ["SavedSessions", "no_session"]

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
        session, tenant, now = new.session, new.tenant, datetime.now(UTC)
        _expect_id(session)
        with self.writing() as connection:
            found = saved.look(connection, [session]).get(session)
            if found is not None and found.tenant != tenant and not found.over(now):
                raise AlreadyExists(f"there is a session {session!r}; choose another id")
            expect_version(connection, new.model, new.version)
            expect_room(connection, tenant, len(new.data), budgets, now)
            epoch = saved.next_epoch(connection)
            saved.put(connection, [replace(new, epoch=epoch)], [])
        return epoch

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
        with self.writing() as connection:
            found = saved.get(connection, session)
            if found is None or found[0].tenant != tenant or found[0].over(datetime.now(UTC)):
                raise no_session(session)
            (row, state) = found
            if row.gone is not None:
                raise deleted(f"session {session!r}", state.model, state.version)
            if state.data:
                try:
                    expect_whole(state.data)
                except (DataLoss, InvalidInput) as e:
                    where = self._database.path
                    raise DataLoss(f"the state of session {session!r} in {where}: {e}") from e
            taken = saved.take(connection, state)
        return taken.epoch, taken

    def renew(self, owned: Mapping[str, int], expires: datetime | None) -> None:
        """Set when sessions expire that are in use but not saved; those lost to others are left.

        Args:
            owned: epoch by session.
            expires: UTC; None: never.
        """
        with self.writing() as connection:
            saved.renew(connection, owned, expires)

    def drop(self, owned: Mapping[str, int]) -> None:
        """Erase the states of sessions that have ended; those lost to others are left.

        Args:
            owned: epoch by session.
        """
        with self.writing() as connection:
            saved.drop(connection, owned)


def _expect_id(session: str) -> None:
    size = len(session.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= LONGEST_ID:
        raise InvalidInput(f"a session's id has 1 to {LONGEST_ID} bytes, not {size}")
