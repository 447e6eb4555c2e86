"""Snapshots that callers keep: listed, read and erased, each by its owner."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from foretoken.records import SnapshotRecord
from foretoken.server.registry.registry import Registry
from foretoken.server.terms import Scope, Terms

__all__ = ["Shelf"]


class Shelf:
    """The kept snapshots of a registry, as one plane's callers see them.

    Args:
        registry: whose they are.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def snapshots(
        self, terms: Terms, model: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[SnapshotRecord]:
        """A page of the caller's snapshots, of one model or of all, the last used first.

        Args:
            terms: who asks.
            model: of this one only.
            after: digest of the last one of the page before.
            limit: length of the page.

        Raises:
            NotFound: if ``after`` is not there any more.
            InvalidInput: if ``limit`` is out of range.
        """
        terms.caller.expect(Scope.PREDICT)
        return await asyncio.to_thread(
            self._registry.sessions.list, terms.caller.tenant, model, after, limit
        )

    async def describe(self, digest: str, terms: Terms) -> SnapshotRecord:
        """What there is to know of a snapshot.

        Raises:
            NotFound: if the caller has none of that digest.
            FailedPrecondition: if its version was deleted, and it with it.
        """
        terms.caller.expect(Scope.PREDICT)
        return await asyncio.to_thread(self._registry.sessions.find, digest, terms.caller.tenant)

    async def read(self, digest: str, terms: Terms) -> bytes:
        """The bytes of a snapshot.

        Raises:
            DataLoss: if they are not those that were kept; and as ``describe`` does.
        """
        terms.caller.expect(Scope.PREDICT)
        return await asyncio.to_thread(self._registry.sessions.read, digest, terms.caller.tenant)

    async def delete(self, digest: str, terms: Terms) -> None:
        """Erase a snapshot.

        Raises:
            NotFound: if the caller has none of that digest.
        """
        terms.caller.expect(Scope.PREDICT)
        await asyncio.to_thread(self._registry.sessions.delete, digest, terms.caller.tenant)
