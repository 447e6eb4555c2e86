"""Making tokens: the secret is told once, and only its digest is kept.

A secret is 256 random bits, so its plain SHA-256 can be stored: there is no list of likely secrets
to try, which is what slow, salted hashes are for, and every call looks one up.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from foretoken.errors import InvalidInput
from foretoken.server.registry.names import check_name
from foretoken.server.registry.records import Token
from foretoken.server.registry.tokens import Tokens
from foretoken.server.terms import Scope

__all__ = ["PREFIX", "Wanted", "create", "digest", "status"]

PREFIX = "ftk_"  # by which scanners for leaked secrets know one
BYTES = 32
LARGEST_RATE = 1e6  # calls per second
LONGEST = timedelta(days=3650)


@dataclass(frozen=True)
class Wanted:
    """A token to be made.

    Args:
        name: unlike any other's, past ones among them.
        scopes: what its bearer may do; at least one.
        tenant: whose objects the bearer makes and sees beside everybody's.
        rate: calls per second on the whole server; None: any number.
        burst: calls at once after a pause; the default is one second's worth.
        lifetime: after which it is no longer valid; None: never.
    """

    name: str
    scopes: Sequence[str] = (Scope.PREDICT,)
    tenant: str | None = None
    rate: float | None = None
    burst: int | None = None
    lifetime: timedelta | None = None

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            InvalidInput: naming the argument, and what would be accepted.
        """
        check_name("token", self.name)
        if self.tenant is not None:
            check_name("tenant", self.tenant)
        if not self.scopes or set(self.scopes) - set(Scope):
            raise InvalidInput(
                f"scopes are one or more of {', '.join(Scope)}, not {', '.join(self.scopes) or '-'}"
            )
        if self.rate is not None and not 0 < self.rate <= LARGEST_RATE:
            raise InvalidInput(
                f"rate is above 0 and at most {LARGEST_RATE:g} calls per second, not {self.rate:g}"
            )
        if self.burst is not None and (self.rate is None or not 1 <= self.burst <= LARGEST_RATE):
            raise InvalidInput(
                f"burst goes with a rate, and is 1 to {LARGEST_RATE:g} calls, not {self.burst}"
            )
        if self.lifetime is not None and not timedelta() < self.lifetime <= LONGEST:
            raise InvalidInput(f"a token expires within {LONGEST.days} days, or never")


def create(tokens: Tokens, wanted: Wanted, actor: str = "local") -> tuple[str, Token]:
    """Make a token.

    Returns:
        The secret, which is told here and nowhere else, and what is kept of it.

    Raises:
        InvalidInput: if ``wanted`` makes no sense.
        AlreadyExists: if there is or was a token of that name.
    """
    wanted.check()
    burst = wanted.burst
    if wanted.rate is not None and burst is None:
        burst = max(1, math.ceil(wanted.rate))
    secret = PREFIX + secrets.token_urlsafe(BYTES)
    token = tokens.add(
        wanted.name,
        digest(secret),
        [scope.value for scope in Scope if scope in wanted.scopes],
        tenant=wanted.tenant,
        rate=wanted.rate,
        burst=burst,
        expires=None if wanted.lifetime is None else datetime.now(UTC) + wanted.lifetime,
        actor=actor,
    )
    return secret, token


def status(token: Token) -> str:
    """Whether the token is "valid", "expired" or "revoked"."""
    if token.revoked is not None:
        return "revoked"
    if token.expires is not None and token.expires <= datetime.now(UTC):
        return "expired"
    return "valid"


def digest(secret: str) -> str:
    """SHA-256 of a secret, in hex."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
