"""The one table from errors to status codes, for gRPC and for HTTP.

A class that is not listed has the status of its nearest listed ancestor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import grpc

from foretoken import errors
from foretoken.errors import ForetokenError, Overloaded
from foretoken.server.doors.telling import Tell

__all__ = ["STATUSES", "Status", "describe", "pushback", "status_of"]

MESSAGE_BYTES = 2000  # of UTF-8: percent-encoded, it still leaves room in 8 KiB of headers

_Code = grpc.StatusCode


@dataclass(frozen=True, slots=True)
class Status:
    """What a class of errors is called on the wire.

    Args:
        code: of gRPC.
        http: status code.
    """

    code: grpc.StatusCode
    http: int

    @property
    def name(self) -> str:
        """As metrics and the log have it: "NOT_FOUND"."""
        return str(self.code.name)


STATUSES: dict[type[ForetokenError], Status] = {
    errors.ForetokenError: Status(_Code.INTERNAL, 500),
    errors.CallerError: Status(_Code.INVALID_ARGUMENT, 400),
    errors.InvalidInput: Status(_Code.INVALID_ARGUMENT, 400),
    errors.InvalidType: Status(_Code.INVALID_ARGUMENT, 400),
    errors.NotFound: Status(_Code.NOT_FOUND, 404),
    errors.AlreadyExists: Status(_Code.ALREADY_EXISTS, 409),
    errors.FailedPrecondition: Status(_Code.FAILED_PRECONDITION, 409),
    errors.StaleGeneration: Status(_Code.FAILED_PRECONDITION, 412),
    errors.NotFitted: Status(_Code.FAILED_PRECONDITION, 409),
    errors.Unsupported: Status(_Code.UNIMPLEMENTED, 501),
    errors.Unauthenticated: Status(_Code.UNAUTHENTICATED, 401),
    errors.PermissionDenied: Status(_Code.PERMISSION_DENIED, 403),
    errors.DeadlineExceeded: Status(_Code.DEADLINE_EXCEEDED, 504),
    errors.Cancelled: Status(_Code.CANCELLED, 499),
    errors.EnvironmentFault: Status(_Code.UNAVAILABLE, 503),
    errors.Overloaded: Status(_Code.RESOURCE_EXHAUSTED, 429),
    errors.Unavailable: Status(_Code.UNAVAILABLE, 503),
    errors.DataLoss: Status(_Code.DATA_LOSS, 500),
    errors.InternalError: Status(_Code.INTERNAL, 500),
}


def status_of(kind: type[ForetokenError]) -> Status:
    """The status of a class of errors: its own, or that of the nearest ancestor listed."""
    return next(STATUSES[c] for c in kind.__mro__ if c in STATUSES)


def describe(error: ForetokenError, tell: Tell = str) -> str:
    """The error's message, fit for a header: valid Unicode, and at most ``MESSAGE_BYTES``.

    Args:
        error: to describe.
        tell: makes its message fit for callers.
    """
    encoded = tell(str(error)).encode("utf-8", "backslashreplace")
    if len(encoded) > MESSAGE_BYTES:
        encoded = encoded[: MESSAGE_BYTES - 3] + "…".encode()
    return encoded.decode("utf-8", "ignore")


def pushback(error: ForetokenError) -> tuple[tuple[str, str], ...]:
    """Trailing metadata that tell when to try again: milliseconds, for gRPC's own retries and ours.

    Empty for errors that do not pass by waiting.
    """
    if not isinstance(error, Overloaded):
        return ()
    wait = str(max(1, math.ceil(error.retry_after * 1000)))
    return (("grpc-retry-pushback-ms", wait), ("retry-after-ms", wait))
