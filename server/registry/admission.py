"""Taking a version in: blobs first, then its PENDING row, then a check, then READY or FAILED.

Whatever dies on the way leaves blobs that nobody refers to or a row that nobody sees, and garbage
collection ends both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from foretoken.errors import FailedPrecondition, ForetokenError, InvalidInput, Unavailable
from foretoken.models.artefact import Artefact
from foretoken.server.registry import aliases, versions
from foretoken.server.registry.blobs import BlobRef, BlobStore, digest_of
from foretoken.server.registry.intake import check_files
from foretoken.server.registry.manifest import FileEntry, Manifest, Signature, media_type
from foretoken.server.registry.names import CHAMPION, check_name
from foretoken.server.registry.options import ServingOptions
from foretoken.server.registry.records import Origin, Status, Target, Version
from foretoken.server.registry.sqlite import Database
from foretoken.server.registry.versions import Candidate

__all__ = ["Admission", "Check"]

Check = Callable[[Artefact], None]
_TRIES = 3  # of putting blobs that a concurrent collection swept before their row was there


def _check_candidate(candidate: Candidate, signature: Signature) -> None:
    """Check all that can be checked before a byte is copied.

    Raises:
        InvalidInput: for a bad name, tag, file or serving option.
        NotFound: if there is no such family.
    """
    check_name("model", candidate.name)
    for key in candidate.tags:
        check_name("tag", key)
    ServingOptions.parse(candidate.artefact.serving)
    check_files(candidate.artefact.files, weightless=not signature(candidate.artefact))


@dataclass(frozen=True)
class Admission:
    """The way in.

    Args:
        database: the catalogue.
        blobs: where bytes are kept.
        signature: derives a signature from an artefact.
    """

    database: Database
    blobs: BlobStore
    signature: Signature

    def manifest(self, artefact: Artefact, keep: Callable[[Path], BlobRef] = digest_of) -> Manifest:
        """The manifest that ``artefact`` has or would have; ``keep`` digests each file."""
        signature = self.signature(artefact)
        kept = {name: keep(path) for name, path in artefact.files.items()}
        files = {n: FileEntry(ref.digest, ref.size, media_type(n)) for n, ref in kept.items()}
        return Manifest(artefact.description(), files, signature)

    def admit(self, candidate: Candidate, check: Check | None) -> Version:
        """Take a version in; errors as for ``Registry.register``."""
        _check_candidate(candidate, self.signature)
        manifest = self.manifest(candidate.artefact, self.blobs.put)
        self.blobs.put(manifest.to_bytes())
        number = self._insert(candidate, manifest, settle=check is None)
        if check is not None:
            self._run(check, candidate, manifest, number)
        with self.database.read() as connection:
            version = versions.get(connection, candidate.name, number)
        assert version is not None
        return version

    def _insert(self, candidate: Candidate, manifest: Manifest, *, settle: bool) -> int:
        """Give the version its number and row; at once READY if there is nothing to wait for."""
        for _ in range(_TRIES):
            with self.database.write() as connection:
                if not (gone := self._gone(manifest)):
                    return self._insert_into(connection, candidate, manifest, settle=settle)
            self._put_again(candidate, manifest, gone)
        raise Unavailable("garbage collection keeps sweeping this artefact's files; use more grace")

    def _insert_into(
        self, connection: Connection, candidate: Candidate, manifest: Manifest, *, settle: bool
    ) -> int:
        name, digest = candidate.name, manifest.digest
        if candidate.origin is Origin.BUNDLED:
            known = versions.find(connection, name, digest, Origin.BUNDLED)
            if known:
                return known.number
        number = versions.add(connection, candidate, manifest, datetime.now(UTC))
        if settle:
            versions.settle(connection, name, number, Status.READY)
            _crown(connection, candidate, number)
        return number

    def _gone(self, manifest: Manifest) -> set[str]:
        wanted = {manifest.digest, *(entry.digest for entry in manifest.files.values())}
        return {digest for digest in wanted if not self.blobs.exists(digest)}

    def _put_again(self, candidate: Candidate, manifest: Manifest, gone: set[str]) -> None:
        self.blobs.put(manifest.to_bytes())
        for name, entry in manifest.files.items():
            path = candidate.artefact.files[name]
            if entry.digest in gone and self.blobs.put(path).digest != entry.digest:
                raise InvalidInput(f"{path} changed while it was being registered; try again")

    def _run(self, check: Check, candidate: Candidate, manifest: Manifest, number: int) -> None:
        kept = {name: self.blobs.path(entry.digest) for name, entry in manifest.files.items()}
        try:
            check(manifest.artefact(kept))
        except BaseException as e:
            reason = str(e) if isinstance(e, ForetokenError) else f"the check broke off: {e!r}"
            with self.database.write() as connection:
                versions.settle(connection, candidate.name, number, Status.FAILED, reason)
            raise
        with self.database.write() as connection:
            if not versions.settle(connection, candidate.name, number, Status.READY):
                raise FailedPrecondition(
                    f"{candidate.name}:{number} was given up by garbage collection while it was "
                    "being checked; register it again, and collect with more grace"
                )
            _crown(connection, candidate, number)


def _crown(connection: Connection, candidate: Candidate, number: int) -> None:
    """Make a new READY version champion: a model's first, or a bundled one after a bundled one."""
    name = candidate.name
    champion = aliases.get(connection, name, CHAMPION)
    if champion is None:
        due = versions.ready(connection, name, limit=2) == 1
    elif candidate.origin is Origin.BUNDLED and champion.target.canary is None:
        standing = versions.get(connection, name, champion.target.version)
        due = standing is not None and standing.origin is Origin.BUNDLED
    else:
        due = False
    if due:
        new = Target(number)
        aliases.move(connection, name, CHAMPION, new, actor=candidate.actor, action="set")
