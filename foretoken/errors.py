"""Every error that Foretoken raises on purpose, and whose fault each one is.

::

    ForetokenError
    ├── CallerError            the request cannot be answered as it stands
    │   ├── InvalidInput         values, shapes, dtypes or options are not acceptable  (ValueError)
    │   │   └── InvalidType        it is not of a kind that could be  (TypeError, too)
    │   ├── NotFound             no such model, version, alias, context or snapshot  (LookupError)
    │   ├── AlreadyExists        the name is taken
    │   ├── FailedPrecondition   true once, or for another object: ask again after a look
    │   │   ├── StaleGeneration    the alias has moved since it was read
    │   │   └── NotFitted          ``fit`` comes first, or again  (ValueError and AttributeError)
    │   ├── Unsupported          a documented limit of this model, runtime or server
    │   ├── Unauthenticated      no valid token
    │   ├── PermissionDenied     the token does not reach that far
    │   ├── DeadlineExceeded     the caller's deadline has passed  (TimeoutError)
    │   └── Cancelled            the caller has gone
    ├── EnvironmentFault       nobody's mistake: try elsewhere or later
    │   ├── Overloaded           a bounded queue or budget is full; carries ``retry_after``
    │   ├── Unavailable          loading, draining or unreachable
    │   └── DataLoss             stored bytes are not the bytes that were stored
    └── InternalError          a bug of ours; ``id`` also stands in the log

Each class maps to exactly one gRPC and one HTTP status; that table belongs to the doors,
so nothing here knows a protocol. A message says what was wrong, where, and what would be accepted.
"""

from __future__ import annotations

import uuid

__all__ = [
    "AlreadyExists",
    "CallerError",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "EnvironmentFault",
    "FailedPrecondition",
    "ForetokenError",
    "ForetokenWarning",
    "InternalError",
    "InvalidInput",
    "InvalidType",
    "NotFitted",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "StaleGeneration",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
]


class ForetokenError(Exception):
    """Root of the tree; catching it catches everything raised on purpose."""


class CallerError(ForetokenError):
    """The request cannot be answered as it stands; repeating it unchanged will not help."""


class InvalidInput(CallerError, ValueError):
    """Values, shapes, dtypes or options are not acceptable; the message says what would be."""


class InvalidType(InvalidInput, TypeError):
    """Not of a kind that could be acceptable, whatever its value."""


class NotFound(CallerError, LookupError):
    """No such model, version, alias, context or snapshot."""


class AlreadyExists(CallerError):
    """The name is taken."""


class FailedPrecondition(CallerError):
    """The object is not in the state that the call needs."""


class StaleGeneration(FailedPrecondition):
    """An alias was moved by someone else between reading and setting it."""


class NotFitted(FailedPrecondition, ValueError, AttributeError):
    """An estimator has not been fitted, or what it was fitted to is kept no longer.

    Estimators raise one that is scikit-learn's ``NotFittedError``, too.
    """


class Unsupported(CallerError):
    """A documented limit: this model, runtime or server does not do that."""


class Unauthenticated(CallerError):
    """No valid token came with the call."""


class PermissionDenied(CallerError):
    """The token is valid but its scope does not reach this object or call."""


class DeadlineExceeded(CallerError, TimeoutError):
    """The caller's deadline has passed."""


class Cancelled(CallerError):
    """The caller has gone; nobody waits for the answer."""


class EnvironmentFault(ForetokenError):
    """Nobody's mistake: the machine, the network or the load; try elsewhere or later."""


class Overloaded(EnvironmentFault):
    """A bounded queue or budget is full.

    Args:
        message: what is full, and its bound.
        retry_after: seconds after which another try makes sense.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(EnvironmentFault):
    """Loading, draining or unreachable."""


class DataLoss(EnvironmentFault):
    """Stored bytes are not the bytes that were stored; the message names the file."""


class InternalError(ForetokenError):
    """A bug of ours.

    Args:
        message: what was being done.
        id: under which it stands in a server's log; a new one by default, empty if there is none.
    """

    def __init__(self, message: str, id: str | None = None) -> None:  # noqa: A002
        self.id = uuid.uuid4().hex if id is None else id
        super().__init__(f"{message} (error id {self.id})" if self.id else message)


class ForetokenWarning(UserWarning):
    """Something works, but not as well as it would with a change that the text names."""
