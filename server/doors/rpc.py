"""Turns services into what gRPC takes for handlers.

There are no interceptors: ``grpc.aio`` runs them as coroutines of their own at every call, and
what they would do is the same for all our methods (see ``calls``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from foretoken.server.doors.calls import Call, Metadata, Route, UnaryCall
from foretoken.server.doors.gate import OPEN, QUIET, Gate, RpcObserver
from foretoken.server.doors.inflight import Inflight
from foretoken.server.doors.metadata import RequestIds
from foretoken.server.doors.service import Bidirectional, Method, Service, Unary, Upload
from foretoken.server.doors.streams import BidirectionalCall, OpenStreams, UploadCall
from foretoken.server.doors.telling import telling
from foretoken.server.log import Log
from foretoken.server.settings import Settings

__all__ = ["OPEN", "QUIET", "Gate", "Handlers", "RpcObserver"]


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler of every call.

    Args:
        services: whose methods can be called; others are UNIMPLEMENTED.
        gate: says who calls.
        observer: hears how calls ended.
        log: has a record of each.
        settings: data dir, default deadline, and the bounds on open streams and bytes in flight.

    Raises:
        ValueError: if a service lacks a method that its definition declares, has one that it does
            not, or has one of another kind: a bug.
    """

    def __init__(
        self,
        services: Sequence[Service],
        gate: Gate,
        observer: RpcObserver,
        log: Log,
        settings: Settings,
    ) -> None:
        self._streams = OpenStreams(settings.streams)
        self._inflight = Inflight(settings.inflight_bytes)
        tell = telling(settings.data_dir)
        shared = (gate, observer, log, RequestIds(), settings.deadline, self._inflight, tell)
        self._calls: dict[str, Callable[[Metadata], Call]] = {}
        for service in services:
            _check(service)
            for name, method in service.methods.items():
                declared = service.descriptor.methods_by_name[name]
                path = f"/{service.descriptor.full_name}/{name}"
                request = declared.input_type
                parse = GetMessageClass(request).FromString
                route = Route(
                    path, request, parse, method.handler, method.scope, method.advice, *shared
                )
                self._calls[path] = self._call(method, route)

    @property
    def streams(self) -> Mapping[str, int]:
        """How many streams are open now, by method; methods without any are left out."""
        return self._streams.counts

    @property
    def inflight(self) -> int:
        """Bytes of the messages that are being worked on now."""
        return self._inflight.held

    def drain(self) -> None:
        """End streams that wait for their callers."""
        self._streams.drain()

    async def ended(self) -> None:
        """Wait until the last stream has ended."""
        await self._streams.ended()

    def service(self, handler_call_details: Any) -> Call | None:
        """The call that begins; None if there is no such method. This is what gRPC calls."""
        call = self._calls.get(handler_call_details.method)
        return None if call is None else call(handler_call_details.invocation_metadata)

    def _call(self, method: Method, route: Route) -> Callable[[Metadata], Call]:
        match method:
            case Unary():
                return lambda metadata: UnaryCall(route, metadata)
            case Upload():
                return lambda metadata: UploadCall(route, metadata, self._streams)
            case Bidirectional():
                return lambda metadata: BidirectionalCall(route, metadata, self._streams)


def _check(service: Service) -> None:
    declared = service.descriptor.methods_by_name
    if differing := set(declared) ^ set(service.methods):
        raise ValueError(f"{service.descriptor.full_name}: {sorted(differing)} not on both sides")
    for name, method in service.methods.items():
        if not isinstance(method, _kind(declared[name])):
            raise ValueError(f"{service.descriptor.full_name}.{name} is not a {type(method)}")


def _kind(method: MethodDescriptor) -> type[Method]:
    if method.server_streaming:
        return Bidirectional  # on the wire, one message followed by an end is a stream as well
    return Upload if method.client_streaming else Unary
