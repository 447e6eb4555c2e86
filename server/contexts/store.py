"""Contexts on the disk: rows in the catalogue, training sets and states as blobs beside it.

Blobs come before their row and go with it, so that whatever dies on the way leaves a blob that
nobody refers to. Methods block, and are safe to call from threads and processes.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select

from foretoken.errors import DataLoss, FailedPrecondition, NotFound, Overloaded, Unavailable
from foretoken.models.contract import Context
from foretoken.server.contexts import states
from foretoken.server.contexts.forms import form_of, from_bytes
from foretoken.server.contexts.identity import PREFIX
from foretoken.server.registry import contexts as rows
from foretoken.server.registry import schema, versions
from foretoken.server.registry.blobs import BlobRef, BlobStore
from foretoken.server.registry.contexts import Kept, StoredContext, Totals
from foretoken.server.registry.records import Status
from foretoken.server.registry.sqlite import Database

__all__ = ["Budgets", "ContextStore", "StoredContext", "expiry", "no_context"]

SECRET = "contexts"  # noqa: S105 - the name of one
_ID = re.compile(f"{PREFIX}[0-9a-f]{{64}}")
_TRIES = 3  # of putting blobs that a concurrent collection swept before their row was there
FULL = 30.0  # seconds after which a tenant whose quota is used up might try again


@dataclass(frozen=True)
class Budgets:
    """What contexts may take.

    Args:
        state_bytes: of the states of all contexts on the disk.
        quota: bytes of the training sets and states of one tenant.
        ttl: seconds since the last use; 0: for ever.
    """

    state_bytes: int
    quota: int
    ttl: float


def no_context(context: str) -> NotFound:
    """What is said of a context that is not there, or is another tenant's."""
    if not _ID.fullmatch(context):
        return NotFound(
            f"{context[:80]!r} is not the id of a context, which is ctx- and 64 hex digits: give "
            "one that a fit has returned, or that `foretoken contexts list` shows; the name of a "
            "model goes with labelled rows, not alone"
        )
    return NotFound(f"no context {context!r}; it was deleted, has expired or never was: fit again")


def expiry(used: datetime, ttl: float) -> datetime | None:
    """When a context ends that was used last at ``used``."""
    return used + timedelta(seconds=ttl) if ttl else None


class ContextStore:
    """The contexts of a data dir.

    Args:
        database: the catalogue.
        blobs: where training sets and states lie, and nothing else.
    """

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def secret(self) -> bytes:
        """What ids are salted with: random, and the data dir's own; made when it is first asked."""
        s = schema.secrets.c
        known = select(s.value).where(s.name == SECRET)
        with self._database.read() as connection:
            value = connection.scalar(known)
        if value is None:
            with self._database.write() as connection:
                value = connection.scalar(known)
                if value is None:
                    value = secrets.token_hex(32)
                    connection.execute(insert(schema.secrets).values(name=SECRET, value=value))
        return bytes.fromhex(value)

    # -- looking ----------------------------------------------------------------------------------

    def find(self, context: str, tenant: str | None) -> StoredContext:
        """A tenant's context.

        Raises:
            NotFound: if there is none, or it has expired.
            FailedPrecondition: if its version was deleted, and its data with it.
        """
        with self._database.read() as connection:
            found = rows.get(connection, context)
        if found is None or found.tenant != tenant or _over(found, datetime.now(UTC)):
            raise no_context(context)
        if found.gone is not None:
            raise FailedPrecondition(
                f"the version {found.record.model}:{found.record.version} that context {context} "
                "was fitted with has been deleted, and the context with it; fit again"
            )
        return found

    def known(self, context: str, tenant: str | None) -> StoredContext | None:
        """A tenant's context, if it is there and its training set is as far as one can see."""
        try:
            found = self.find(context, tenant)
        except (NotFound, FailedPrecondition):
            return None
        whole = not found.problem and self._blobs.exists(found.table_digest)
        return found if whole else None

    def list(self, tenant: str | None, model: str | None = None) -> list[StoredContext]:
        """A tenant's contexts, of one model or of all, the last used first."""
        with self._database.read() as connection:
            return rows.of_tenant(connection, tenant, model, datetime.now(UTC))

    def look(self, ids: Sequence[str]) -> dict[str, StoredContext]:
        """Those of these that are there to answer, whoever they belong to."""
        now = datetime.now(UTC)
        with self._database.read() as connection:
            found = rows.get_many(connection, ids)
        return {i: c for i, c in found.items() if c.gone is None and not _over(c, now)}

    def totals(self) -> Totals:
        """How many contexts there are, and the bytes of their tables and states on the disk."""
        with self._database.read() as connection:
            return rows.totals(connection)

    # -- reading ----------------------------------------------------------------------------------

    def state(self, stored: StoredContext, predictor: int) -> Context:
        """The context's state, verified and mapped.

        Raises:
            DataLoss: if it is gone, is not what was kept, or was made by another ``predictor``.
        """
        if stored.kept_digest is None:
            raise DataLoss(f"the state of context {stored.record.id} is not kept")
        label = f"the state of context {stored.record.id}"
        return states.opened(self._blobs.verify(stored.kept_digest, label), predictor)

    def table(self, stored: StoredContext) -> Any:
        """The context's training set, as a request to fit.

        Raises:
            DataLoss: if its bytes are not those that were stored; that is noted, too.
        """
        label = f"the training set of context {stored.record.id}"
        try:
            data = self._blobs.read(stored.table_digest, label)
            return from_bytes(data, label)
        except DataLoss as e:
            lost = DataLoss(f"{label} is damaged or gone, and so is its state; fit again ({e})")
            with self._database.write() as connection:
                same = rows.get(connection, stored.record.id)
                if same is not None and same.gone is None:
                    rows.update(connection, [stored.record.id], {"problem": str(e)})
            raise lost from e

    # -- keeping ----------------------------------------------------------------------------------

    def expect_room(self, context: str, tenant: str | None, size: int, budgets: Budgets) -> None:
        """Do nothing if a tenant may keep a context of ``size`` bytes, training set included.

        Raises:
            Overloaded: if its quota does not allow that.
        """
        with self._database.read() as connection:
            _expect_room(connection, context, tenant, size, budgets)

    def keep(
        self,
        new: StoredContext,
        request: Any,
        context: Context,
        predictor: int,
        budgets: Budgets,
    ) -> tuple[StoredContext, int]:
        """Keep a context; durable when this returns.

        Args:
            new: without its blobs.
            request: its training set.
            context: what was computed of it.
            predictor: version of the logic that did.
            budgets: what there is room for.

        Returns:
            What is kept, which another process may have made, and how many states were evicted.

        Raises:
            FailedPrecondition: if its version has been deleted meanwhile.
            Overloaded: if its tenant's quota is used up.
            Unavailable: if the data dir cannot be written.
        """
        table = form_of(request).to_bytes(new.record.id, request)

        def put() -> StoredContext:
            training = self._blobs.put(table)
            state = self._put(new.record.id, predictor, context)
            record = replace(new.record, kept_nbytes=state.size)
            return replace(
                new,
                record=record,
                table_digest=training.digest,
                table_size=training.size,
                kept_digest=state.digest,
            )

        return self._commit(put, budgets, self._add)

    def keep_state(
        self, stored: StoredContext, context: Context, predictor: int, budgets: Budgets
    ) -> tuple[StoredContext, int]:
        """Keep the state of a context that had none on the disk any more; see ``keep``.

        Raises:
            NotFound: if the context has been deleted meanwhile.
        """

        def put() -> StoredContext:
            state = self._put(stored.record.id, predictor, context)
            record = replace(stored.record, kept_nbytes=state.size)
            return replace(stored, record=record, kept_digest=state.digest)

        return self._commit(put, budgets, self._set_state)

    def _put(self, name: str, predictor: int, context: Context) -> BlobRef:
        return self._blobs.put(states.stream(name, predictor, context))

    def _commit(
        self,
        put: Callable[[], StoredContext],
        budgets: Budgets,
        write: Callable[[Connection, StoredContext, Budgets], StoredContext],
    ) -> tuple[StoredContext, int]:
        for _ in range(_TRIES):
            new = put()
            try:
                with self._database.write() as connection:
                    if not all(self._blobs.exists(digest) for digest in new.blobs):
                        continue  # a collection was quicker than the row
                    settled = write(connection, new, budgets)
                    evicted = self._evict(connection, budgets.state_bytes, settled.record.id)
            except BaseException:
                self._drop(new.blobs)
                raise
            self._drop(set(new.blobs) - set(settled.blobs))
            return settled, evicted
        raise Unavailable("garbage collection keeps sweeping this context's files; use more grace")

    def _add(self, connection: Connection, new: StoredContext, budgets: Budgets) -> StoredContext:
        record = new.record
        _expect_version(connection, new)
        size = new.table_size + record.nbytes
        _expect_room(connection, record.id, new.tenant, size, budgets)
        known = rows.get(connection, record.id)
        if known is not None and known.gone is None and self._whole(known):
            new = replace(
                new,
                kept_digest=known.kept_digest,
                record=replace(
                    record, created=known.record.created, kept_nbytes=known.record.kept_nbytes
                ),
            )
        rows.add(connection, new)
        return new

    def _set_state(
        self, connection: Connection, new: StoredContext, _budgets: Budgets
    ) -> StoredContext:
        known = rows.get(connection, new.record.id)
        if known is None or known.gone is not None:
            raise no_context(new.record.id)
        if self._whole(known):
            return known
        values = {"kept_digest": new.kept_digest, "kept_size": new.record.kept_nbytes}
        rows.update(connection, [new.record.id], values)
        return new

    def _whole(self, known: StoredContext) -> bool:
        return known.kept_digest is not None and self._blobs.exists(known.kept_digest)

    def _evict(self, connection: Connection, budget: int, but: str) -> int:
        """Let go of states, the least recently used first, until the rest is within the budget."""
        over, evicted = rows.totals(connection).state - budget, 0
        while over > 0 and (kept := rows.kept(connection, but)):
            going = []
            for each in kept:
                if over > 0:
                    going.append(each)
                    over -= each.size
            self._forget(connection, going)
            evicted += len(going)
        return evicted

    def shrink(self, budget: int) -> int:
        """Let go of states until the rest is within the budget; returns of how many."""
        with self._database.read() as connection:
            if rows.totals(connection).state <= budget:
                return 0
        with self._database.write() as connection:
            return self._evict(connection, budget, but="")

    def _forget(self, connection: Connection, going: Sequence[Kept]) -> None:
        values = {"kept_digest": None, "kept_size": 0}
        rows.update(connection, [each.context for each in going], values)
        self._unlink([each.digest for each in going])

    def forget_state(self, stored: StoredContext) -> None:
        """Let go of a state that is damaged or gone, unless it has been replaced."""
        with self._database.write() as connection:
            known = rows.get(connection, stored.record.id)
            if known is not None and known.kept_digest == stored.kept_digest is not None:
                digest, size = stored.kept_digest, known.record.kept_nbytes
                self._forget(connection, [Kept(stored.record.id, digest, size)])

    def touch(self, used: Mapping[str, datetime], ttl: float) -> None:
        """Note when contexts were used last."""
        with self._database.write() as connection:
            for context, when in used.items():
                rows.update(connection, [context], {"used": when, "expires": expiry(when, ttl)})

    # -- removing ---------------------------------------------------------------------------------

    def delete(self, context: str, tenant: str | None) -> None:
        """Erase a tenant's context: its row and its files.

        Raises:
            NotFound: if there is none.
        """
        with self._database.write() as connection:
            found = rows.get(connection, context)
            if found is None or found.tenant != tenant or _over(found, datetime.now(UTC)):
                raise no_context(context)
            self._erase(connection, [found])

    def expire(self) -> int:
        """Erase the contexts whose time is over; returns how many."""
        now = datetime.now(UTC)
        with self._database.read() as connection:
            if not rows.expired(connection, now):
                return 0
        erased = 0
        while True:  # others may write between two batches
            with self._database.write() as connection:
                found = rows.expired(connection, now)
                self._erase(connection, found)
            erased += len(found)
            if len(found) < rows.BATCH:
                return erased

    def entomb(self, connection: Connection, ids: Sequence[str]) -> None:
        """Erase all of some contexts but that they were there, in the transaction given."""
        found = rows.get_many(connection, ids)
        rows.entomb(connection, ids, datetime.now(UTC))
        for each in found.values():
            self._unlink(each.blobs)

    def _erase(self, connection: Connection, found: Sequence[StoredContext]) -> None:
        rows.remove(connection, [each.record.id for each in found])
        for each in found:
            self._unlink(each.blobs)

    def _unlink(self, digests: Sequence[str]) -> None:
        for digest in digests:
            self._blobs.delete(digest)

    def _drop(self, digests: Sequence[str] | set[str]) -> None:
        """Remove blobs that have come to nothing, unless a context has come to need them."""
        if not digests:
            return
        with self._database.write() as connection:
            needed = rows.referenced(connection, list(digests))
            self._unlink([digest for digest in digests if digest not in needed])


def _over(stored: StoredContext, now: datetime) -> bool:
    expires = stored.record.expires
    return expires is not None and expires <= now


def _expect_room(
    connection: Connection, context: str, tenant: str | None, size: int, budgets: Budgets
) -> None:
    there = rows.used_bytes(connection, tenant, context, datetime.now(UTC))
    if there + size > budgets.quota:
        raise Overloaded(
            f"this context would take {size} bytes, and your others take {there} of "
            f"{budgets.quota} (context_quota); delete some, or fit fewer rows or ensemble members",
            retry_after=FULL,
        )


def _expect_version(connection: Connection, new: StoredContext) -> None:
    """A context never outlives its version unseen: the row goes in while the version is there."""
    version = versions.get(connection, new.record.model, new.record.version)
    if (
        version is None
        or version.status is not Status.READY
        or version.manifest_digest != new.manifest_digest
    ):
        raise FailedPrecondition(
            f"{new.record.model}:{new.record.version} was deleted while it was being fitted"
        )
