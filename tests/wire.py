"""The registry's service as its bare messages, for tests that are not about the client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from foretoken.models.artefact import Artefact
from foretoken.proto import registry as wire
from foretoken.proto.loading import service

METHODS = service("foretoken/v1/registry.proto", "Registry").methods_by_name


class RegistryWire:
    """Calls of one channel; errors are ``grpc.RpcError``.

    Args:
        channel: to a server.
        token: to show; the default is none.
    """

    def __init__(self, channel: grpc.Channel, token: str | None = None) -> None:
        self._channel = channel
        self._metadata = [] if token is None else [("authorization", f"Bearer {token}")]

    def __call__(self, name: str, /, **fields: Any) -> Any:
        method = METHODS[name]
        call = self._channel.unary_unary(
            f"/foretoken.v1.Registry/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        request = GetMessageClass(method.input_type)(**fields)
        return call(request, metadata=self._metadata, timeout=60)

    def upload(self, messages: Iterator[Any]) -> Any:
        call = self._channel.stream_unary(
            "/foretoken.v1.Registry/Register",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=wire.Version.FromString,
        )
        return call(messages, metadata=self._metadata, timeout=60)

    def register(self, name: str, artefact: Artefact, **others: Any) -> Any:
        return self.upload(upload_of(name, artefact, **others))

    def code(self, name: str, /, **fields: Any) -> str:
        """Name of the status with which a call ends."""
        try:
            self(name, **fields)
        except grpc.RpcError as e:
            return e.code().name
        return "OK"


def opening(name: str, artefact: Artefact, **others: Any) -> Any:
    """The first message of an upload."""
    files = []
    for file, path in artefact.files.items():
        data = path.read_bytes()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        files.append(wire.Upload(name=file, size=len(data), digest=digest))
    said = {
        "name": name,
        "family": artefact.family,
        "config": json.dumps(dict(artefact.config)),
        "precision": artefact.precision,
        "training": json.dumps(dict(artefact.training)),
        "export": json.dumps(dict(artefact.export)),
        "files": files,
    }
    return wire.RegisterRequest(open=wire.RegisterOpen(**{**said, **others}))


def upload_of(name: str, artefact: Artefact, chunk: int = 1 << 20, **others: Any) -> Iterator[Any]:
    """All messages of an upload; chunks do not end where files do."""
    yield opening(name, artefact, **others)
    data = b"".join(path.read_bytes() for path in artefact.files.values())
    for start in range(0, len(data), chunk):
        yield wire.RegisterRequest(chunk=data[start : start + chunk])
