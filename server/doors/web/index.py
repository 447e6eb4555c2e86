"""The index page: what this server is, which models it has, and how to call them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

import foretoken
from foretoken.errors import NotFound
from foretoken.models.catalog import family
from foretoken.server.doors.web.page import rendered
from foretoken.server.metrics import Metrics
from foretoken.server.registry.records import Model, Version
from foretoken.server.settings import Settings

if TYPE_CHECKING:
    from foretoken.server.plane import Plane
    from foretoken.server.registry.registry import Registry

__all__ = ["Listed", "Overview", "Shown", "routes"]

MODELS = 100
VERSIONS = 5  # of each model, the newest, beside those that aliases point at
EVERYBODYS: frozenset[str] = frozenset()  # no tenant's: a page has no token
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Shown:
    """One version of a model: its number, aliases that point at it, and whether it is loaded."""

    number: int
    aliases: tuple[str, ...]
    loaded: bool


@dataclass(frozen=True)
class Listed:
    """One model; ``older`` counts the versions that are not shown."""

    name: str
    task: str
    kind: str
    summary: str
    served: bool
    versions: tuple[Shown, ...]
    older: int


@dataclass(frozen=True)
class Overview:
    """What the page says.

    Args:
        release: of Foretoken.
        uptime: seconds.
        secure: whether the ports speak TLS.
        grpc: address, host and port.
        http: address, host and port.
        models: at most 100, by name; None: an anonymous caller may see none.
        more: whether there are others.
    """

    release: str
    uptime: float
    secure: bool
    grpc: str
    http: str
    models: tuple[Listed, ...] | None
    more: bool


def routes(plane: Plane, settings: Settings, grpc_port: int, metrics: Metrics) -> list[Route]:
    """``/``; the metrics know for how long the server has been up."""

    async def index(request: Request) -> Response:
        models: list[Listed] | None = None
        if not settings.require_tokens:
            held = {(m.version.name, m.version.number) for m in plane.loaded}
            models = await asyncio.to_thread(_listed, plane.registry, held)
        host = request.url.hostname or settings.host
        overview = Overview(
            release=foretoken.__version__,
            uptime=await metrics.uptime(),
            secure=settings.tls_cert is not None,
            grpc=f"[{host}]:{grpc_port}" if ":" in host else f"{host}:{grpc_port}",
            http=request.url.netloc,
            models=None if models is None else tuple(models[:MODELS]),
            more=models is not None and len(models) > MODELS,
        )
        headers = {"content-security-policy": POLICY, "cache-control": "no-store"}
        return HTMLResponse(rendered(overview), headers=headers)

    return [Route("/", index)]


def _listed(registry: Registry, held: set[tuple[str, int]]) -> list[Listed]:
    models = registry.models(limit=MODELS + 1, tenants=EVERYBODYS)
    found = []
    for model in models:
        try:
            found.append(_one(registry, model, held))
        except NotFound:  # it was deleted a moment ago
            continue
    return found


def _one(registry: Registry, model: Model, held: set[tuple[str, int]]) -> Listed:
    newest = registry.versions(model.name, limit=VERSIONS)
    numbers = {version.number for version in newest}
    pointed = sorted(set(model.aliases.values()) - numbers, reverse=True)
    versions = [*newest, *(registry.show(f"{model.name}:{number}") for number in pointed)]
    task, kind, summary = _nature(versions[0])
    shown = tuple(Shown(v.number, v.aliases, (v.name, v.number) in held) for v in versions)
    older = model.versions - len(shown)
    return Listed(model.name, task, kind, summary, model.served, shown, older)


def _nature(version: Version) -> tuple[str, str, str]:
    try:
        known = family(version.family)
    except NotFound:  # registered by another release
        return "unknown", "unknown", f"family {version.family}, which this release does not have"
    return known.task, known.kind.replace("_", "-"), known.summary
