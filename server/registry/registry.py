"""The registry: models, their versions and the aliases that point at them, over one data dir."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from foretoken.errors import FailedPrecondition, InvalidInput
from foretoken.models.artefact import Artefact
from foretoken.server.contexts.store import ContextStore
from foretoken.server.registry import aliases, models, rollout, versions
from foretoken.server.registry.admission import Admission, Check
from foretoken.server.registry.blobs import BlobStore
from foretoken.server.registry.collect import Collected, collect, collect_contexts, collect_sessions
from foretoken.server.registry.files import Disk, FileLayer
from foretoken.server.registry.lookup import PAGE, alias_of, any_version, expect_model, page_of
from foretoken.server.registry.manifest import Manifest, Signature, family_signature
from foretoken.server.registry.migrate import migrate
from foretoken.server.registry.names import CHAMPION, Ref
from foretoken.server.registry.options import ServingOptions
from foretoken.server.registry.ownership import expect_owned, expect_seen
from foretoken.server.registry.records import Alias, AliasEvent, Model, Origin, Status, Version
from foretoken.server.registry.removal import removed
from foretoken.server.registry.resolver import Resolver
from foretoken.server.registry.sqlite import Database
from foretoken.server.registry.tokens import Tokens
from foretoken.server.registry.verify import MANIFEST, FileReport, verify
from foretoken.server.sessions.store import DATABASE, SessionStore
from foretoken.server.terms import LOCAL, Caller

__all__ = ["Registry", "ServingOptions", "Version"]

CATALOGUE = "registry.sqlite3"
BLOBS = "blobs"
CONTEXTS = "contexts"  # blobs of contexts: training sets, and states computed of them
BACKUPS = "backups"  # copies of the catalogue made before a migration
GRACE = 3600.0  # seconds


class Registry:
    """Models, versions and aliases; safe to share between threads and between processes.

    Every change is durable when its method returns. Use ``Registry.open``.

    Args:
        database: the catalogue, migrated.
        blobs: where bytes are kept.
        fitted: where those of contexts are.
        sessions: where the states of sessions are kept.
        signature: derives a version's signature from its artefact.

    Attributes:
        contexts: the training sets that are kept.
        sessions: snapshots and states of sessions that are kept.
        data_dir: where all of it lies.
        tokens: what callers of a server show.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        fitted: BlobStore,
        sessions: SessionStore,
        signature: Signature,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._fitted = fitted
        self.contexts = ContextStore(database, fitted)
        self.sessions = sessions
        self.data_dir = database.path.parent
        self._admission = Admission(database, blobs, signature)
        self._resolver = Resolver(database)
        self._unserved: tuple[int, frozenset[str]] | None = None
        self.tokens = Tokens(database)

    @classmethod
    def open(
        cls,
        data_dir: Path,
        *,
        signature: Signature = family_signature,
        files: FileLayer | None = None,
    ) -> Registry:
        """Open a data dir; a new one is made, an older release's is migrated after a backup.

        Raises:
            InvalidInput: if ``data_dir`` is not a folder.
            FailedPrecondition: if a newer release wrote it.
            DataLoss: if its catalogue is damaged.
            Unavailable: if it cannot be made or opened.
        """
        if data_dir.exists() and not data_dir.is_dir():
            raise InvalidInput(f"{data_dir} is not a folder; name the data dir's folder")
        files = files or Disk()
        blobs = BlobStore(data_dir / BLOBS, files)
        fitted = BlobStore(data_dir / CONTEXTS, files)
        database = Database(data_dir / CATALOGUE)
        try:
            migrate(database, data_dir / BACKUPS)
            salt = ContextStore(database, fitted).secret
            sessions = SessionStore.open(data_dir / DATABASE, salt)
        except BaseException:
            database.close()
            raise
        return cls(database, blobs, fitted, sessions, signature)

    # -- registering ------------------------------------------------------------------------------

    def register(
        self,
        name: str,
        artefact: Artefact,
        *,
        parent: Version | None = None,
        relation: str | None = None,
        check: Check | None = None,
        actor: str = "local",
        tags: Mapping[str, str] | None = None,
        owner: str | None = None,
    ) -> Version:
        """Make a new version of an artefact; a name's first READY version becomes champion.

        Args:
            name: of the model; it is made if it is new.
            artefact: description and files; the files are copied.
            parent: the version it was derived from, with ``relation``.
            relation: see ``Relation``.
            check: is called with the stored artefact while the version is PENDING; whatever it
                raises makes the version FAILED, with that reason, and is raised on.
            actor: who registers it.
            tags: free text by key.
            owner: tenant that a new model is to belong to; None: everybody's.

        Returns:
            The version, READY and durable.

        Raises:
            AlreadyExists: if ``owner`` is given and the name is not that owner's.
            InvalidInput: if a name, file, option, tag or relation is not acceptable.
            NotFound: if this release has no such family.
            Unavailable: if the data dir cannot be written.
        """
        lineage = versions.lineage(parent, relation)
        candidate = versions.Candidate(name, artefact, actor, tags or {}, lineage, owner=owner)
        return self._admission.admit(candidate, check)

    def register_bundled(self, name: str, artefact: Artefact, release: str) -> Version:
        """Register what came with a release, once; arguments and errors as for ``register``.

        The champion moves to a new one only where it points at a bundled version, with no canary.
        """
        actor = f"foretoken {release}"
        candidate = versions.Candidate(
            name, artefact, actor, origin=Origin.BUNDLED, release=release
        )
        digest = self._admission.manifest(artefact).digest
        with self._database.read() as connection:
            known = versions.find(connection, name, digest, Origin.BUNDLED)
        return known or self._admission.admit(candidate, None)

    # -- reading ----------------------------------------------------------------------------------

    def resolve(self, ref: str, key: str | bytes | None = None) -> Version:
        """The READY version that a reference points at.

        Args:
            ref: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
            key: chooses the side of a canary, always the same for the same key; without one the
                canary is left aside.

        Raises:
            InvalidInput: if ``ref`` is not a reference.
            NotFound: if there is no such model, version or alias, or it is not READY.
        """
        return self._resolver.resolve(Ref.parse(ref), key)

    def show(self, ref: str) -> Version:
        """Like ``resolve``, but tells of PENDING and FAILED versions too."""
        parsed = Ref.parse(ref)
        with self._database.read() as connection:
            number = parsed.version or alias_of(connection, parsed).target.version
            return any_version(connection, parsed.name, number)

    def models(
        self,
        after: str | None = None,
        limit: int = PAGE,
        *,
        tenants: AbstractSet[str] | None = None,
    ) -> list[Model]:
        """A page of the models that have a READY version, by name, beginning behind ``after``.

        With ``tenants``, only those that are everybody's or belong to one of them.
        """
        with self._database.read() as connection:
            return models.page(connection, after, page_of(limit), tenants)

    def expect_reach(self, name: str, caller: Caller, *, change: bool = False) -> None:
        """Do nothing if a caller may see the model or, with ``change``, change it.

        Raises:
            NotFound: if no version of it was ever registered or, in the same words, the caller is
                not to know of it.
            PermissionDenied: if it is everybody's to see, but not the caller's to change.
        """
        with self._database.read() as connection:
            (expect_owned if change else expect_seen)(connection, name, caller)

    def versions(
        self, name: str, after: int | None = None, limit: int = PAGE, *, unready: bool = False
    ) -> list[Version]:
        """A page of a model's versions, newest first, beginning below number ``after``.

        Args:
            name: of the model.
            after: the last number of the page before.
            limit: length of the page.
            unready: tell of PENDING and FAILED ones too.

        Raises:
            NotFound: if there is no such model.
        """
        with self._database.read() as connection:
            found = versions.page(connection, name, after, page_of(limit), unready=unready)
            if not found:
                expect_model(connection, name)
            return found

    def manifest(self, version: Version) -> Manifest:
        """What the version consists of, verified.

        Raises:
            DataLoss: if the manifest's bytes are not those that were registered.
        """
        data = self._blobs.read(version.manifest_digest, f"{version.ref}: {MANIFEST}")
        return Manifest.from_bytes(data)

    def artefact(self, version: Version, *, verify: bool = True) -> Artefact:
        """The version's artefact, its files lying in the blob store.

        Args:
            version: a READY one.
            verify: hash every file again.

        Raises:
            FailedPrecondition: if the version is not READY.
            DataLoss: naming the file whose bytes are not those that were registered.
        """
        if version.status is not Status.READY:
            raise FailedPrecondition(f"{version.ref} is {version.status}; only READY ones load")
        manifest = self.manifest(version)
        paths = {}
        for name, entry in manifest.files.items():
            if verify:
                self._blobs.verify(entry.digest, f"{version.ref}: {name}")
            paths[name] = self._blobs.path(entry.digest)
        return manifest.artefact(paths)

    # -- aliases ----------------------------------------------------------------------------------

    def alias(self, ref: str) -> Alias:
        """An alias as it stands, given as ``NAME`` (its champion) or ``ALIAS@NAME``.

        Raises:
            InvalidInput: if ``ref`` is not the reference of an alias.
            NotFound: if there is none.
        """
        parsed = Ref.parse(ref)
        if parsed.alias is None:
            raise InvalidInput(f"{ref!r} names a version; an alias is NAME or ALIAS@NAME")
        with self._database.read() as connection:
            return alias_of(connection, parsed)

    def aliases(self, name: str) -> list[Alias]:
        """All aliases of a model, in alphabetical order.

        Raises:
            NotFound: if there is no such model.
        """
        with self._database.read() as connection:
            expect_model(connection, name)
            return aliases.of_model(connection, name)

    def set_alias(
        self,
        name: str,
        alias: str,
        version: int,
        *,
        expect_generation: int | None = None,
        canary: float | None = None,
        actor: str = "local",
    ) -> Alias:
        """Point an alias at a version, or send a share of its traffic there.

        Args:
            name: of the model.
            alias: it is made if it is new.
            version: number of a READY one.
            expect_generation: the move is refused unless the alias has this generation; 0 stands
                for "there is no such alias".
            canary: percent, between 0 and 100, of the keys that go to ``version`` while the alias
                stays where it is.
            actor: who moves it.

        Raises:
            InvalidInput: if ``alias`` is not a name or ``canary`` is out of range.
            NotFound: if there is no such READY version.
            FailedPrecondition: if a canary is asked for and the alias points nowhere else.
            StaleGeneration: if someone else has moved the alias.
        """
        ref = Ref(name, alias=alias)
        with self._database.write() as connection:
            return rollout.advance(
                connection, ref, version, canary=canary, expect=expect_generation, actor=actor
            )

    def delete_alias(
        self, name: str, alias: str, *, expect_generation: int | None = None, actor: str = "local"
    ) -> None:
        """Remove an alias; its history stays.

        Raises:
            NotFound: if there is none.
            StaleGeneration: if someone else has moved it.
        """
        with self._database.write() as connection:
            ref = Ref(name, alias=alias)
            rollout.remove(connection, ref, expect=expect_generation, actor=actor)

    def rollback(self, name: str, alias: str = CHAMPION, *, actor: str = "local") -> Alias:
        """Undo the last move of an alias; again, the one before it.

        Raises:
            NotFound: if there never was such an alias.
            FailedPrecondition: if there was none before, or its version is deleted.
        """
        with self._database.write() as connection:
            return rollout.roll_back(connection, Ref(name, alias=alias), actor=actor)

    def history(self, name: str, alias: str | None = None) -> list[AliasEvent]:
        """Every move of a model's aliases, or of one of them, oldest first.

        Raises:
            NotFound: if there is no such model and nothing was ever recorded of it.
        """
        with self._database.read() as connection:
            events = aliases.history(connection, name, alias)
            if not events:
                expect_model(connection, name)
            return events

    def state(self) -> int:
        """A number that is another one after any commit, by this process or not; cheap to ask."""
        return self._database.state()

    # -- serving options --------------------------------------------------------------------------

    def serving_options(self, version: Version) -> ServingOptions:
        """The version's own options, with those set for its model in their place.

        Raises:
            DataLoss: if the manifest's bytes are not those that were registered.
        """
        own = ServingOptions.parse(self.manifest(version).description["serving"])
        return own.overridden_by(self.options(version.name))

    def options(self, name: str) -> ServingOptions:
        """What is set for all versions of a model, over their own options.

        Raises:
            NotFound: if there is no such model.
        """
        with self._database.read() as connection:
            expect_model(connection, name)
            return models.override(connection, name)

    def set_options(self, name: str, options: ServingOptions, *, actor: str = "local") -> None:
        """Set the options for all versions of a model, in the place of those set before.

        Raises:
            NotFound: if there is no such model.
        """
        with self._database.write() as connection:
            expect_model(connection, name)
            models.set_override(connection, name, options, actor)

    # -- what is served ---------------------------------------------------------------------------

    def set_served(self, name: str, served: bool, *, caller: Caller = LOCAL) -> None:
        """Say whether servers over this data dir are to answer with the model.

        Raises:
            NotFound: if there is no such model for the caller.
            PermissionDenied: if it is not the caller's to change.
        """
        with self._database.write() as connection:
            expect_owned(connection, name, caller)
            expect_model(connection, name)
            models.set_served(connection, name, served)

    def unserved(self) -> frozenset[str]:
        """The models that are not to be served; cheap while nobody commits anything."""
        state, known = self.state(), self._unserved
        if known is None or known[0] != state:
            with self._database.read() as connection:
                known = self._unserved = state, models.unserved(connection)
        return known[1]

    # -- keeping house ----------------------------------------------------------------------------

    def incoming(self) -> Path:
        """A path that nobody uses, for a file on its way in; ``gc`` removes what is left there."""
        return self._blobs.incoming()

    def delete(self, ref: str, *, force: bool = False) -> Version:
        """Delete a version, given as ``NAME:VERSION``; ``gc`` frees its bytes later.

        Args:
            ref: of the version.
            force: also if contexts were fitted with it, or sessions or snapshots go on from it:
                they are erased with it, and whoever asks for one of them is told why.

        Raises:
            InvalidInput: if ``ref`` names no version by number.
            NotFound: if there is none.
            FailedPrecondition: if an alias points at it, it is still PENDING, or contexts, sessions
                or snapshots need it.
        """
        # The catalogue's transaction ends first: what dies in between, ``collect_sessions`` mends.
        with self.sessions.writing() as states, self._database.write() as connection:
            version, fitted = removed(connection, states, ref, force=force)
            self.contexts.entomb(connection, fitted)
            self.sessions.entomb(states, version.name, version.number)
            return version

    def verify(self, ref: str | None = None) -> Iterator[FileReport]:
        """Hash every file of one version, or of all READY ones, again and report on each.

        Raises:
            NotFound: if ``ref`` points at no READY version.
        """
        return verify(self._blobs, self.all_versions() if ref is None else [self.resolve(ref)])

    def gc(self, grace: float = GRACE, *, dry_run: bool = False) -> Collected:
        """Remove blobs that nothing refers to, half-written files, dead PENDING rows, what expired.

        Args:
            grace: seconds; what is younger is left alone, for it may be on its way in.
            dry_run: remove nothing, only say what would be.

        Raises:
            InvalidInput: unless ``grace`` is between 0 and ten years.
        """
        if not dry_run:
            self.contexts.expire()
            self.sessions.expire()
            self.collect_sessions()
        of_versions = collect(self._database, self._blobs, grace, dry_run=dry_run)
        return of_versions + self.collect_contexts(grace, dry_run=dry_run)

    def collect_contexts(self, grace: float = GRACE, *, dry_run: bool = False) -> Collected:
        """Of what ``gc`` does, that which concerns blobs of contexts."""
        return collect_contexts(self._database, self._fitted, grace, dry_run=dry_run)

    def collect_sessions(self) -> None:
        """Erase states of versions that are not there any more."""
        collect_sessions(self._database, self.sessions)

    def all_versions(
        self, after: Ref | None = None, *, tenants: AbstractSet[str] | None = None
    ) -> Iterator[Version]:
        """Every READY version, by name and newest first, or those that come behind ``after``."""
        name: str | None = None
        if after is not None:
            name = after.name
            yield from self._all_of(name, after.version)
        while page := self.models(after=name, tenants=tenants):
            for model in page:
                yield from self._all_of(model.name)
            name = page[-1].name

    def _all_of(self, name: str, after: int | None = None) -> Iterator[Version]:
        while page := self.versions(name, after=after):
            yield from page
            after = page[-1].number

    def close(self) -> None:
        """Close the catalogue and the sessions' states."""
        self.sessions.close()
        self._database.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
