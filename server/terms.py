"""On whose behalf a call is made, and on which terms: what doors tell the plane beside the request.

Nothing here knows a protocol. Times are those of ``time.monotonic``, in seconds.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from enum import StrEnum

from foretoken.errors import PermissionDenied

__all__ = ["LOCAL", "Caller", "Scope", "Terms"]


class Scope(StrEnum):
    """What a caller may do; neither scope includes the other."""

    PREDICT = "predict"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """Who calls.

    Args:
        name: of the token, for logs and the registry's history.
        scopes: what it may do.
        tenant: whose objects it makes and sees beside those that all share; None sees only those
            that all share, and, with the scope "admin", everything.
    """

    name: str
    scopes: frozenset[Scope]
    tenant: str | None = None

    def expect(self, scope: Scope) -> None:
        """Refuse what the caller may not do.

        Raises:
            PermissionDenied: then.
        """
        if scope not in self.scopes:
            has = ", ".join(sorted(self.scopes)) or "none"
            raise PermissionDenied(f"this call needs the scope {scope!r}; {self.name} has {has}")

    def sees(self, owner: str | None) -> bool:
        """Whether objects of the tenant ``owner``, or with None those of all, are there for it."""
        everything = self.tenant is None and Scope.ADMIN in self.scopes
        return owner is None or owner == self.tenant or everything


LOCAL = Caller("local", frozenset(Scope))  # the process's own user


@dataclass(frozen=True)
class Terms:
    """The terms of one call.

    Args:
        caller: who asks.
        deadline: by when the answer must be there; infinity for whenever.
        priority: higher goes first among what waits.
        key: decides which side of a canary answers; the same key is always on the same side.
        request_id: stands in the log, and in errors that are bugs of ours.
    """

    caller: Caller = LOCAL
    deadline: float = math.inf
    priority: int = 0
    key: str | None = None
    request_id: str = field(default="")

    @property
    def left(self) -> float:
        """Seconds until the deadline; negative once it has passed."""
        return self.deadline - time.monotonic()
