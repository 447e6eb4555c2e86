"""``foretoken.v1.Registry``: between its messages and what administrators and users may do."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from foretoken.errors import InvalidInput
from foretoken.models.artefact import Artefact
from foretoken.proto import registry as wire
from foretoken.proto.loading import service
from foretoken.server.admin import CHUNK, Admin
from foretoken.server.doors import records
from foretoken.server.doors.service import Call, Method, Reader, Service, Unary, Upload
from foretoken.server.doors.telling import Tell, telling
from foretoken.server.registrar import Registration
from foretoken.server.registry.lookup import PAGE
from foretoken.server.registry.names import CHAMPION
from foretoken.server.registry.options import ServingOptions
from foretoken.server.terms import Scope
from foretoken.server.uploads import Announced

__all__ = ["registry"]

LONGEST_JSON = 1 << 20  # characters


def registry(admin: Admin, data_dir: Path) -> Service:
    """The service, over ``admin``; ``data_dir`` is not told to callers."""
    door = _Door(admin, telling(data_dir))
    methods: dict[str, Method] = {
        "List": Unary(door.list, Scope.PREDICT),
        "Versions": Unary(door.versions, Scope.PREDICT),
        "Show": Unary(door.show, Scope.PREDICT),
        "Aliases": Unary(door.aliases, Scope.PREDICT),
        "History": Unary(door.history, Scope.PREDICT),
        "GetOptions": Unary(door.options, Scope.PREDICT),
        "SetAlias": Unary(door.set_alias, Scope.ADMIN),
        "DeleteAlias": Unary(door.delete_alias, Scope.ADMIN),
        "Rollback": Unary(door.rollback, Scope.ADMIN),
        "SetOptions": Unary(door.set_options, Scope.ADMIN),
        "Delete": Unary(door.delete, Scope.ADMIN),
        "Load": Unary(door.load, Scope.ADMIN),
        "Unload": Unary(door.unload, Scope.ADMIN),
        "Verify": Unary(door.verify, Scope.ADMIN),
        "Read": Unary(door.read, Scope.ADMIN),
        "Register": Upload(door.register, Scope.ADMIN),
    }
    return Service(service("foretoken/v1/registry.proto", "Registry"), methods)


class _Door:
    """Handlers of the methods; who may, and what is there for whom, ``admin`` decides."""

    def __init__(self, admin: Admin, tell: Tell) -> None:
        self._admin = admin
        self._tell = tell

    # -- looking ----------------------------------------------------------------------------------

    async def list(self, request: wire.ListRequest, call: Call) -> wire.ListResponse:
        limit = request.limit or PAGE
        models = await self._admin.models(call.terms.caller, request.after or None, limit)
        following = models[-1].name if len(models) == limit else ""
        return wire.ListResponse(models=map(records.model, models), next=following)

    async def versions(self, request: wire.VersionsRequest, call: Call) -> wire.VersionsResponse:
        limit = request.limit or PAGE
        versions = await self._admin.versions(
            call.terms.caller,
            request.name,
            _positive("after", request.after) or None,
            limit,
            unready=request.unready,
        )
        following = versions[-1].number if len(versions) == limit else 0
        return wire.VersionsResponse(
            versions=[records.version(each, self._tell) for each in versions], next=following
        )

    async def show(self, request: wire.ShowRequest, call: Call) -> wire.ShowResponse:
        return records.shown(await self._admin.show(call.terms.caller, request.ref), self._tell)

    async def aliases(self, request: wire.AliasesRequest, call: Call) -> wire.AliasesResponse:
        found = await self._admin.aliases(call.terms.caller, request.name)
        return wire.AliasesResponse(aliases=map(records.alias, found))

    async def history(self, request: wire.HistoryRequest, call: Call) -> wire.HistoryResponse:
        events = await self._admin.history(call.terms.caller, request.name, request.alias or None)
        return wire.HistoryResponse(events=map(records.event, events))

    async def options(self, request: wire.GetOptionsRequest, call: Call) -> wire.ServingOptions:
        return records.options(await self._admin.options(call.terms.caller, request.name))

    # -- changing ---------------------------------------------------------------------------------

    async def set_alias(self, request: wire.SetAliasRequest, call: Call) -> wire.Alias:
        moved = await self._admin.set_alias(
            call.terms.caller,
            request.name,
            request.alias,
            _positive("version", request.version),
            canary=_given(request, "canary"),
            expect_generation=_given(request, "expect_generation"),
        )
        return records.alias(moved)

    async def delete_alias(
        self, request: wire.DeleteAliasRequest, call: Call
    ) -> wire.DeleteAliasResponse:
        await self._admin.delete_alias(
            call.terms.caller,
            request.name,
            request.alias,
            expect_generation=_given(request, "expect_generation"),
        )
        return wire.DeleteAliasResponse()

    async def rollback(self, request: wire.RollbackRequest, call: Call) -> wire.Alias:
        alias = request.alias or CHAMPION
        return records.alias(await self._admin.rollback(call.terms.caller, request.name, alias))

    async def set_options(self, request: wire.SetOptionsRequest, call: Call) -> wire.ServingOptions:
        said = {field.name: value for field, value in request.options.ListFields()}
        options = ServingOptions.parse(said)
        return records.options(
            await self._admin.set_options(call.terms.caller, request.name, options)
        )

    async def delete(self, request: wire.DeleteRequest, call: Call) -> wire.Version:
        deleted = await self._admin.delete(call.terms.caller, request.ref, force=request.force)
        return records.version(deleted, self._tell)

    async def load(self, request: wire.LoadRequest, call: Call) -> wire.LoadResponse:
        await self._admin.load(request.name, call.terms)
        return wire.LoadResponse()

    async def unload(self, request: wire.UnloadRequest, call: Call) -> wire.UnloadResponse:
        await self._admin.unload(request.name, call.terms)
        return wire.UnloadResponse()

    # -- bytes ------------------------------------------------------------------------------------

    async def verify(self, request: wire.VerifyRequest, call: Call) -> wire.VerifyResponse:
        reports, following = await self._admin.verify(
            call.terms.caller, request.ref or None, request.after or None
        )
        return wire.VerifyResponse(
            reports=[records.report(each, self._tell) for each in reports], next=following
        )

    async def read(self, request: wire.ReadRequest, call: Call) -> wire.ReadResponse:
        data = await self._admin.read(
            call.terms.caller, request.ref, request.file, request.offset, request.limit or CHUNK
        )
        return wire.ReadResponse(data=data)

    async def register(self, requests: Reader, call: Call) -> wire.Version:
        first = await requests.read()
        if first is None or first.WhichOneof("message") != "open":
            raise InvalidInput("an upload begins with `open`, which says what is to come")
        wanted = _registration(first.open)
        version = await self._admin.register(call.terms.caller, wanted, _chunks(requests))
        return records.version(version, self._tell)


def _chunks(requests: Reader) -> Callable[[], Awaitable[bytes | None]]:
    async def read() -> bytes | None:
        message = await requests.read()
        if message is None:
            return None
        if message.WhichOneof("message") != "chunk":
            raise InvalidInput("after `open` there are only chunks")
        data: bytes = message.chunk
        return data

    return read


def _registration(said: wire.RegisterOpen) -> Registration:
    artefact = Artefact(
        family=said.family,
        config=_json("config", said.config),
        files={},
        precision=said.precision or "float32",
        training=_json("training", said.training),
        export=_json("export", said.export),
        serving=_json("serving", said.serving),
    )
    return Registration(
        name=said.name,
        artefact=artefact,
        files=[Announced(file.name, file.size, file.digest) for file in said.files],
        tags=dict(said.tags),
        parent=said.parent or None,
        relation=said.relation or None,
    )


def _json(what: str, text: str) -> Mapping[str, Any]:
    if len(text) > LONGEST_JSON:
        raise InvalidInput(f"{what} has {len(text)} characters; at most {LONGEST_JSON} are read")
    try:
        said = json.loads(text or "{}")
    except (ValueError, RecursionError) as e:
        raise InvalidInput(f"{what} is not JSON: {e}") from e
    if not isinstance(said, dict):
        raise InvalidInput(f"{what} is JSON, but not an object")
    return said


def _given(request: Any, field: str) -> Any:
    return getattr(request, field) if request.HasField(field) else None


def _positive(what: str, number: int) -> int:
    if number < 0:
        raise InvalidInput(f"{what} is a number of a version, not {number}")
    return number
