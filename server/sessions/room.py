"""The sessions of one loaded version that are in memory: their states, and who was used when."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from foretoken.errors import ForetokenError, Unsupported
from foretoken.models.contract import Arrays, Tensor
from foretoken.models.kinds import Kind, Recurrent
from foretoken.server.engine.batcher import Batcher
from foretoken.server.engine.observer import Observer
from foretoken.server.engine.slots import HostRows, Slots
from foretoken.server.registry.loaded import Loaded
from foretoken.server.runtimes.base import Executable, KeepsRows, Rows
from foretoken.server.sessions.session import Session
from foretoken.server.sessions.state import Snapshot, expect_fits
from foretoken.server.sessions.stepping import Stepper

if TYPE_CHECKING:
    from foretoken.server.settings import Settings

__all__ = ["Room", "recurrent"]


def recurrent(loaded: Loaded) -> Recurrent:
    """The predictor of a version that carries a state along a sequence.

    Raises:
        Unsupported: if it does not.
    """
    if loaded.family.kind is not Kind.RECURRENT:
        raise Unsupported(
            f"{loaded.version.ref} keeps no state along a sequence, its family "
            f"{loaded.family.name!r} is {loaded.family.kind}: sessions are of recurrent models"
        )
    return cast("Recurrent", loaded.predictor)


class Room:
    """What holds the sessions of one loaded version; it belongs to one event loop.

    Args:
        loaded: the version.
        settings: how many slots there may be.
        batcher: lends threads.
        observer: hears of batches and messages.
        absent: see ``Stepper``.
        stepped: see ``Stepper``.
        spoilt: see ``Stepper``.

    Raises:
        Unsupported: if the version is not recurrent, or one state is more than there is room for.
    """

    def __init__(
        self,
        loaded: Loaded,
        settings: Settings,
        batcher: Batcher,
        observer: Observer,
        absent: Callable[[Session], None],
        stepped: Callable[[Session], None],
        spoilt: Callable[[Session, ForetokenError], None],
    ) -> None:
        predictor = recurrent(loaded)
        lane = loaded.lanes["step"]
        start = predictor.start()
        self.nbytes = sum(array.nbytes for array in start.values())  # of one state
        most = min(settings.sessions, settings.session_bytes // self.nbytes)
        if most < 1:
            raise Unsupported(
                f"one state of {loaded.version.ref} takes {self.nbytes} bytes, and session_bytes "
                f"is {settings.session_bytes}; set more"
            )
        self._observer = observer
        self.loaded = loaded
        self.predictor = predictor
        self.signature: tuple[Tensor, ...] = lane.graph.reads
        self._slots = Slots(_rows(loaded.executable, start, most + 1), start, most)
        self.stepper = Stepper(loaded, self._slots, batcher, observer, absent, stepped, spoilt)
        self._seated: OrderedDict[Session, Room | None] = OrderedDict()  # the last used last
        self.members = 0  # sessions of this version, those whose state is in the store as well

    @property
    def seated(self) -> int:
        """Sessions that have a slot."""
        return len(self._seated)

    @property
    def full(self) -> bool:
        """Whether no slot is left."""
        return self._slots.full

    def seat(self, session: Session, state: Arrays | None = None) -> None:
        """Give a session a slot that holds ``state``, or the one before the first observation.

        Raises:
            Overloaded: if none is left.
        """
        session.slot = self._slots.take(state)
        self._seated[session] = None
        self._observer.sessions(self.loaded.version.name, 1, self.nbytes)

    def unseat(self, session: Session) -> None:
        """Take a session's slot away; nothing of it may run."""
        self._leaves(session)
        if session.slot >= 0:
            self._slots.free(session.slot)
            session.slot = -1

    def end(self, session: Session, error: BaseException) -> None:
        """End a session, whatever it is doing."""
        self._leaves(session)
        self.stepper.end(session, error)

    def _leaves(self, session: Session) -> None:
        if self._seated.pop(session, self) is None:
            self._observer.sessions(self.loaded.version.name, -1, self.nbytes)

    def used(self, session: Session) -> None:
        """Note that a session was used now."""
        self._seated.move_to_end(session)

    def idle(self) -> Iterator[Session]:
        """Open sessions with a slot and nothing to do, the least recently used first."""
        return (s for s in self._seated if not (s.opening or self.stepper.busy(s)))

    def sessions(self) -> list[Session]:
        """Those that have a slot."""
        return list(self._seated)

    def snapshot(self, session: Session, options: Mapping[str, float | str]) -> Snapshot:
        """A session's state and what may go on from it; nothing of it may run.

        Args:
            session: that has a slot.
            options: that whoever goes on with it is to have.
        """
        version = self.loaded.version
        return Snapshot(
            model=version.name,
            version=version.number,
            manifest=version.manifest_digest,
            predictor=self.predictor.version,
            step=session.step,
            options=options,
            arrays=self._slots.read(session.slot),
        )

    def expect_fits(self, snapshot: Snapshot) -> None:
        """Refuse a state that this version cannot go on from.

        Raises:
            FailedPrecondition: then.
        """
        version = self.loaded.version
        expect_fits(snapshot, version.manifest_digest, self.predictor.version, self.signature)


def _rows(executable: Executable, start: Arrays, count: int) -> Rows:
    if isinstance(executable, KeepsRows):
        return executable.rows(start, count)
    return HostRows(executable.run, start, count)
