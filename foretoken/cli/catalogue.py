"""The registry that a command works on: the data dir's, or a server's; commands cannot tell which.

What they get are the same records either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from foretoken.cli.registry import actor_or_user, open_registry
from foretoken.cli.remote import client_of
from foretoken.errors import InvalidInput
from foretoken.records import Alias, AliasEvent, FileReport, Model, Status, Version

if TYPE_CHECKING:
    from foretoken.cli.output import Bar
    from foretoken.cli.remote import Remote
    from foretoken.client import Client
    from foretoken.models.artefact import Artefact
    from foretoken.server.registry.registry import Registry

__all__ = ["Catalogue", "open_catalogue"]


class Catalogue(Protocol):
    """What commands do with a registry; errors are those of ``foretoken.errors``."""

    def models(self, after: str | None, limit: int) -> Sequence[Model]: ...
    def versions(
        self, name: str, after: int | None, limit: int, *, unready: bool
    ) -> Sequence[Version]: ...
    def show(self, ref: str) -> tuple[Version, dict[str, Any]]:
        """A version, and all there is to know of it."""

    def register(
        self,
        name: str,
        artefact: Artefact,
        tags: Mapping[str, str],
        parent: str | None,
        relation: str | None,
        progress: Bar,
    ) -> Version: ...
    def aliases(self, name: str) -> Sequence[Alias]: ...
    def set_alias(
        self,
        name: str,
        alias: str,
        version: int,
        *,
        canary: float | None,
        expect_generation: int | None,
    ) -> Alias: ...
    def delete_alias(self, name: str, alias: str, *, expect_generation: int | None) -> None: ...
    def history(self, name: str, alias: str | None) -> Sequence[AliasEvent]: ...
    def rollback(self, name: str, alias: str) -> Alias: ...
    def delete(self, ref: str, *, force: bool) -> Version: ...
    def verify(self, ref: str | None) -> Iterator[FileReport]: ...
    def options(self, name: str) -> dict[str, Any]:
        """The serving options that are set."""

    def set_options(self, name: str, given: Mapping[str, Any]) -> None: ...
    def load(self, name: str) -> None: ...
    def unload(self, name: str) -> None: ...


@contextmanager
def open_catalogue(
    server: Remote | None, data_dir: Path | None, actor: str | None = None
) -> Iterator[Catalogue]:
    """The registry that the options name.

    Args:
        server: of the command's option.
        data_dir: likewise.
        actor: who acts; a server knows that by the token.

    Raises:
        InvalidInput: if the options do not go together.
    """
    client = client_of(server, data_dir)
    if client is None:
        with open_registry(data_dir) as registry:
            yield _Local(registry, actor_or_user(actor))
        return
    if actor is not None:
        raise InvalidInput("a server knows who acts by the token; leave --actor out")
    with client:
        yield _Remote(client)


class _Local:
    def __init__(self, registry: Registry, actor: str) -> None:
        self._registry = registry
        self._actor = actor
        self.models = registry.models
        self.versions = registry.versions
        self.aliases = registry.aliases
        self.history = registry.history
        self.delete = registry.delete
        self.verify = registry.verify

    def show(self, ref: str) -> tuple[Version, dict[str, Any]]:
        version = self._registry.show(ref)
        record = version.record()
        if version.status is Status.READY:
            manifest = self._registry.manifest(version)
            record["options"] = self._registry.serving_options(version).said()
            record |= {k: manifest.description[k] for k in ("config", "training", "export")}
            record["signature"] = manifest.signature
            record["files"] = {name: asdict(entry) for name, entry in manifest.files.items()}
        return version, record

    def register(
        self,
        name: str,
        artefact: Artefact,
        tags: Mapping[str, str],
        parent: str | None,
        relation: str | None,
        progress: Bar,
    ) -> Version:
        from foretoken.server.publish import check  # noqa: PLC0415  (imports a runtime)

        version = self._registry.register(
            name,
            artefact,
            parent=None if parent is None else self._registry.resolve(parent),
            relation=relation,
            check=check,
            actor=self._actor,
            tags=tags,
        )
        progress(1.0)
        return version

    def set_alias(
        self,
        name: str,
        alias: str,
        version: int,
        *,
        canary: float | None,
        expect_generation: int | None,
    ) -> Alias:
        return self._registry.set_alias(
            name,
            alias,
            version,
            canary=canary,
            expect_generation=expect_generation,
            actor=self._actor,
        )

    def delete_alias(self, name: str, alias: str, *, expect_generation: int | None) -> None:
        self._registry.delete_alias(
            name, alias, expect_generation=expect_generation, actor=self._actor
        )

    def rollback(self, name: str, alias: str) -> Alias:
        return self._registry.rollback(name, alias, actor=self._actor)

    def options(self, name: str) -> dict[str, Any]:
        return self._registry.options(name).said()

    def set_options(self, name: str, given: Mapping[str, Any]) -> None:
        from foretoken.server.registry.options import ServingOptions  # noqa: PLC0415

        self._registry.set_options(name, ServingOptions.parse(given), actor=self._actor)

    def load(self, name: str) -> None:
        self._registry.set_served(name, True)

    def unload(self, name: str) -> None:
        self._registry.set_served(name, False)


class _Remote:
    def __init__(self, client: Client) -> None:
        self._client = client
        self.models = client.models
        self.versions = client.versions
        self.aliases = client.aliases
        self.history = client.history
        self.delete = client.delete
        self.set_alias = client.set_alias
        self.delete_alias = client.delete_alias
        self.rollback = client.rollback
        self.options = client.options
        self.load = client.load
        self.unload = client.unload

    def show(self, ref: str) -> tuple[Version, dict[str, Any]]:
        info = self._client.model(ref)
        record = info.registered.record()
        if info.registered.status is Status.READY:
            parts = ("options", "config", "training", "export", "signature", "files")
            record |= {part: getattr(info, part) for part in parts}
        return info.registered, record

    def register(
        self,
        name: str,
        artefact: Artefact,
        tags: Mapping[str, str],
        parent: str | None,
        relation: str | None,
        progress: Bar,
    ) -> Version:
        (folder,) = {path.parent for path in artefact.files.values()}
        return self._client.register(
            name,
            folder,
            tags=tags,
            parent=parent,
            relation=relation,
            progress=lambda sent, total: progress(sent / total),
        )

    def verify(self, ref: str | None) -> Iterator[FileReport]:
        yield from self._client.verify(ref)

    def set_options(self, name: str, given: Mapping[str, Any]) -> None:
        self._client.set_options(name, given)
