"""The other workers of a server, as far as sequences need to know them."""

from __future__ import annotations

from typing import Protocol

from foretoken.server.terms import Terms

__all__ = ["NOBODY", "Gone", "Moved", "Others"]


class Gone(Exception):
    """There is no such worker any more, and it was asked nothing."""


class Moved(Exception):
    """The worker that was asked does not have the sequence, and has done nothing."""


class Others(Protocol):
    """Asks other workers, by their numbers."""

    async def ask(self, worker: int, terms: Terms, packed: bytes, /) -> bytes:
        """Have a worker answer a request of one of its sequences.

        Args:
            worker: that has it.
            terms: of the request.
            packed: the request, as the door that took it understands it.

        Returns:
            The reply, likewise.

        Raises:
            Gone, Moved: then nothing has been done.
            Unavailable: if the worker ended meanwhile; whether it did anything is not known.
            DeadlineExceeded: if there is no answer in time.
            Overloaded: if too many wait for that worker.
            ForetokenError: what the worker raised.
        """

    async def drop(self, worker: int, key: str, terms: Terms, /) -> None:
        """Have a worker end its sequence of that key, once what waits in it is done.

        Raises:
            As ``ask`` does, but for ``Moved``.
        """

    def alive(self, worker: int, /) -> bool:
        """Whether there is such a worker."""


class _Nobody:
    """For a worker that has no others beside it."""

    async def ask(self, worker: int, _terms: Terms, _packed: bytes) -> bytes:
        raise Gone(f"there is no worker {worker}")

    async def drop(self, worker: int, _key: str, _terms: Terms) -> None:
        raise Gone(f"there is no worker {worker}")

    def alive(self, _worker: int) -> bool:
        return False


NOBODY: Others = _Nobody()
