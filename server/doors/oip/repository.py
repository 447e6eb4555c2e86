"""The extension "model_repository": what could be served, and bringing it in and out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from foretoken.errors import InvalidInput
from foretoken.proto import grpc_service as oip
from foretoken.server.doors.oip.names import reference
from foretoken.server.doors.service import Call
from foretoken.server.doors.telling import Tell
from foretoken.server.plane import Plane
from foretoken.server.registry.records import Status
from foretoken.server.registry.registry import Registry, Version
from foretoken.server.terms import Caller

__all__ = ["Repository", "ready_versions", "visible"]

READY, UNAVAILABLE = "READY", "UNAVAILABLE"
UNLOADED = "unloaded; RepositoryModelLoad brings it back"
PENDING = "being registered"


class Repository:
    """Lists, loads and unloads.

    Args:
        plane: that does it.
        follow: returns when every worker knows what is committed now.
        tell: makes reasons fit for callers.
    """

    def __init__(self, plane: Plane, follow: Callable[[], Awaitable[None]], tell: Tell) -> None:
        self._plane = plane
        self._follow = follow
        self._tell = tell

    async def index(
        self, request: oip.RepositoryIndexRequest, call: Call
    ) -> oip.RepositoryIndexResponse:
        """Every version that the caller sees, and whether it is served.

        Raises:
            InvalidInput: if a repository is named: there is one, without a name.
        """
        _expect_unnamed(request.repository_name)
        registry, caller = self._plane.registry, call.terms.caller
        response = oip.RepositoryIndexResponse()
        for version, reason in await asyncio.to_thread(_all_versions, registry, caller):
            if request.ready and reason:
                continue
            response.models.add(
                name=version.name,
                version=str(version.number),
                state=UNAVAILABLE if reason else READY,
                reason=self._tell(reason),
            )
        return response

    async def load(
        self, request: oip.RepositoryModelLoadRequest, call: Call
    ) -> oip.RepositoryModelLoadResponse:
        """Load a model; returns when every worker serves it; errors are the plane's."""
        _expect_unnamed(request.repository_name)
        if request.parameters:
            given = ", ".join(sorted(request.parameters))
            raise InvalidInput(
                f"a load takes no parameters, not {given}; options and files belong to a version"
            )
        await self._plane.load(reference(request.model_name, ""), call.terms)
        await self._follow()
        return oip.RepositoryModelLoadResponse()

    async def unload(
        self, request: oip.RepositoryModelUnloadRequest, call: Call
    ) -> oip.RepositoryModelUnloadResponse:
        """Unload a model; returns when no worker serves it; errors are the plane's."""
        _expect_unnamed(request.repository_name)
        if given := sorted(set(request.parameters) - {"unload_dependents"}):
            raise InvalidInput(f"no such parameters: {', '.join(given)}; an unload takes none")
        await self._plane.unload(reference(request.model_name, ""), call.terms)
        await self._follow()
        return oip.RepositoryModelUnloadResponse()


def ready_versions(registry: Registry, name: str) -> list[Version]:
    """All READY versions of a model, newest first."""
    return _versions(registry, name, unready=False)


def _versions(registry: Registry, name: str, *, unready: bool) -> list[Version]:
    found: list[Version] = []
    number: int | None = None
    while page := registry.versions(name, after=number, unready=unready):
        found += page
        number = page[-1].number
    return found


def visible(registry: Registry, caller: Caller) -> dict[str, bool]:
    """The names of the models that the caller sees, in order, and whether each is served."""
    found: dict[str, bool] = {}
    name: str | None = None
    while page := registry.models(after=name):
        found |= {model.name: model.served for model in page if caller.sees(model.owner)}
        name = page[-1].name
    return found


def _all_versions(registry: Registry, caller: Caller) -> list[tuple[Version, str]]:
    """Of all models that the caller sees, by name and number, and why they are not served."""
    return [
        (version, _reason(version, served=served))
        for name, served in visible(registry, caller).items()
        for version in reversed(_versions(registry, name, unready=True))
    ]


def _reason(version: Version, *, served: bool) -> str:
    if version.status is not Status.READY:
        return version.reason or PENDING
    return "" if served else UNLOADED


def _expect_unnamed(repository: str) -> None:
    if repository:
        raise InvalidInput(
            f"no repository {repository!r}; there is one, without a name: leave repository_name out"
        )
