"""The one place where a status of gRPC becomes an error of the tree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from foretoken import errors
from foretoken.errors import (
    ForetokenError,
    InternalError,
    InvalidInput,
    Overloaded,
    Unavailable,
)

__all__ = ["CLASSES", "failure", "refusal"]

_Code = grpc.StatusCode

CLASSES: Mapping[grpc.StatusCode, type[ForetokenError]] = {
    _Code.CANCELLED: errors.Cancelled,
    _Code.UNKNOWN: errors.InternalError,
    _Code.INVALID_ARGUMENT: errors.InvalidInput,
    _Code.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    _Code.NOT_FOUND: errors.NotFound,
    _Code.ALREADY_EXISTS: errors.AlreadyExists,
    _Code.PERMISSION_DENIED: errors.PermissionDenied,
    _Code.RESOURCE_EXHAUSTED: errors.Overloaded,
    _Code.FAILED_PRECONDITION: errors.FailedPrecondition,
    _Code.ABORTED: errors.Unavailable,
    _Code.OUT_OF_RANGE: errors.InvalidInput,
    _Code.UNIMPLEMENTED: errors.Unsupported,
    _Code.INTERNAL: errors.InternalError,
    _Code.UNAVAILABLE: errors.Unavailable,
    _Code.DATA_LOSS: errors.DataLoss,
    _Code.UNAUTHENTICATED: errors.Unauthenticated,
}

NAME = "foretoken-error"  # trailing metadata: the class of an error of ours
_ID = re.compile(r" \(error id (\w+)\)$")
_UNREACHED = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed")
_LATEST = re.compile(r"last error: \w+: \S+: (.*)", re.DOTALL)
_TOO_LARGE = "message larger than max"  # of gRPC's own, on either side


def failure(error: Any, address: str) -> ForetokenError:
    """The error that a failed call stands for.

    Args:
        error: of ``grpc`` or ``grpc.aio``: code, details and trailing metadata.
        address: that was called, for failures on the way there.
    """
    code, details = error.code(), error.details() or ""
    trailers = _trailers(error.trailing_metadata())
    kind = CLASSES.get(code, InternalError)
    named = trailers.get(NAME)
    if named is None:
        return _foreign(kind, details, address)
    named_kind = getattr(errors, named, None) if named in errors.__all__ else None
    if isinstance(named_kind, type) and issubclass(named_kind, kind):
        kind = named_kind
    if issubclass(kind, Overloaded):
        return kind(details, _seconds(trailers))
    if issubclass(kind, InternalError):
        return _internal(details)
    return kind(details)


def refusal(name: str, message: str, retry_after: float) -> ForetokenError:
    """The error that one message of a stream was refused with.

    Args:
        name: of its class.
        message: of it.
        retry_after: seconds; 0: not said.
    """
    kind = getattr(errors, name, None) if name in errors.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, ForetokenError)):
        return InternalError(f"{name}: {message}", id="")  # of a newer server
    if issubclass(kind, Overloaded):
        return kind(message, retry_after or 1.0)
    return _internal(message) if issubclass(kind, InternalError) else kind(message)


def _foreign(kind: type[ForetokenError], details: str, address: str) -> ForetokenError:
    """Of gRPC itself or of a proxy on the way, so that it must be said where it happened."""
    said = f"{address}: {details}" if details else f"{address}: no answer"
    if kind is Overloaded and _TOO_LARGE in details:
        return InvalidInput(f"{said}; send fewer or smaller parts, or raise message_bytes there")
    if kind is InternalError:
        return InternalError(said, id="")
    if kind is Unavailable and details.startswith(_UNREACHED):
        return Unavailable(_unreached(details, address))
    return kind(said)


def _unreached(details: str, address: str) -> str:
    """What is said where there was no connection at all: of gRPC's words those that tell why."""
    latest = _LATEST.search(details)
    why = (
        details if latest is None else latest[1].removeprefix("Failed to connect to remote host: ")
    )
    if "handshake failed" in why:
        return (
            f"{address} was reached, but not with TLS: {why}; check its port, and the certificates "
            "(--tls, --ca, --cert and --key, or the client's arguments of those names)"
        )
    return (
        f"no server answers at {address}: {why}; start one there with `foretoken serve`, or give "
        "the address of its gRPC port, with TLS if it asks for that"
    )


def _internal(details: str) -> InternalError:
    found = _ID.search(details)
    if found is None:
        return InternalError(details, id="")
    return InternalError(details[: found.start()], id=found.group(1))


def _trailers(pairs: Iterable[tuple[str, Any]] | None) -> dict[str, str]:
    return {key: value for key, value in pairs or () if isinstance(value, str)}


def _seconds(trailers: Mapping[str, str]) -> float:
    said = trailers.get("retry-after-ms", "")
    return int(said) / 1000 if said.isdecimal() else 1.0
