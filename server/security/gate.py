"""The gate: from what a caller shows to who it is, before anything else is done for it.

A token that was shown before costs a dictionary access. The catalogue is asked ten times a second
whether it has changed, and then whether the tokens have, so that a revoked one is worth nothing
within a tenth of a second, in every worker; one that is not known is looked up there at once.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from foretoken.errors import Overloaded, Unauthenticated
from foretoken.server.registry.records import Token
from foretoken.server.registry.registry import Registry
from foretoken.server.security.limiter import Limit, Limiter
from foretoken.server.security.tokens import digest
from foretoken.server.settings import Settings
from foretoken.server.terms import LOCAL, Caller, Scope

__all__ = ["ANONYMOUS", "HEADER", "SCHEME", "Refused", "TokenGate"]

LOOK = 0.1  # seconds between looks at the catalogue
REMEMBERED = 4096  # headers; more than that and it begins anew
LONGEST = 256  # characters of a header that is looked at
SCHEME = "bearer"
HEADER = "authorization"

ANONYMOUS = Caller("anonymous", frozenset({Scope.PREDICT}))
NOBODY = Caller("anonymous", frozenset())  # where tokens are required

Refused = Callable[[str, str], None]  # is told why, and of whom: never what was shown


@dataclass(frozen=True)
class _Bearer:
    caller: Caller
    expires: float  # seconds since 1970
    limit: Limit | None


class TokenGate:
    """Knows callers by their tokens; used by one thread.

    Args:
        registry: whose tokens are good here.
        settings: whether tokens are required, and whether only this machine can call.
        limiter: of the tokens that have a rate.
        refused: hears of each refusal, for the log.

    Attributes:
        refusals: how many there were, by reason: missing, unknown, expired, revoked,
            scope, rate.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        limiter: Limiter,
        refused: Refused = lambda _why, _peer: None,
    ) -> None:
        self.refusals: Counter[str] = Counter()
        self._registry = registry
        self._limiter = limiter
        self._refused = refused
        self._required = settings.require_tokens
        self._trusting = not settings.require_tokens and _is_loopback(settings.host)
        self._look = 0.0  # when to look at the catalogue next, as time.monotonic says it
        self._state: int | None = None
        self._tokens: tuple[object, ...] = ()  # their state
        self._bearers: dict[str, _Bearer] = {}  # by what they showed

    def caller(self, metadata: Mapping[str, str], peer: str, scope: Scope | None) -> Caller:
        """Who calls, if it may.

        Args:
            metadata: of the call, keys in lower case.
            peer: its address, for the log.
            scope: that the call needs; None: anybody may, and no limit counts it.

        Raises:
            Unauthenticated: if no token was shown where one is needed, or it is not valid; in the
                same words whatever the reason.
            PermissionDenied: if the token has not this scope.
            Overloaded: if it has made more calls than its rate allows.
        """
        shown = metadata.get(HEADER)
        if shown is None:
            return self._without_token(peer, scope)
        now = time.monotonic()
        if now >= self._look:
            self._catch_up()
            self._look = now + LOOK
        bearer = self._bearers.get(shown) or self._known(shown, peer)
        if bearer.expires <= time.time():
            raise self._refusal("expired", peer)
        if scope is not None:
            if bearer.limit is not None:
                self._count(bearer.limit, bearer.caller, peer)
            if scope not in bearer.caller.scopes:
                self._note("scope", peer)
                bearer.caller.expect(scope)
        return bearer.caller

    def _without_token(self, peer: str, scope: Scope | None) -> Caller:
        if scope is None:
            return NOBODY if self._required else ANONYMOUS
        if self._trusting and scope is Scope.ADMIN:
            return LOCAL
        if self._required or scope is not Scope.PREDICT:
            raise self._refusal("missing", peer)
        return ANONYMOUS

    def _known(self, shown: str, peer: str) -> _Bearer:
        """Look up what was shown for the first time since the tokens changed."""
        scheme, _, secret = shown.partition(" ")
        if len(shown) > LONGEST or scheme.lower() != SCHEME:
            raise self._refusal("unknown", peer)
        token = self._registry.tokens.find(digest(secret.strip()))
        if token is None:
            raise self._refusal("unknown", peer)
        if token.revoked is not None:
            raise self._refusal("revoked", peer)
        if len(self._bearers) >= REMEMBERED:
            self._bearers.clear()
        bearer = self._bearers[shown] = _bearer(token)
        return bearer

    def _catch_up(self) -> None:
        state = self._registry.state()
        if state == self._state:
            return
        tokens = self._registry.tokens.state()
        if tokens != self._tokens:
            self._bearers.clear()
        self._state, self._tokens = state, tokens

    def _count(self, limit: Limit, caller: Caller, peer: str) -> None:
        wait = self._limiter.take(limit)
        if wait > 0:
            self._note("rate", peer)
            raise Overloaded(
                f"{caller.name} may make {limit.rate:g} calls per second, {limit.burst} at once",
                retry_after=wait,
            )

    def _refusal(self, why: str, peer: str) -> Unauthenticated:
        self._note(why, peer)
        return Unauthenticated(
            "no valid token: send the metadata `authorization: Bearer TOKEN` with one that "
            "`foretoken tokens create` has made"
        )

    def _note(self, why: str, peer: str) -> None:
        self.refusals[why] += 1
        self._refused(why, peer)


def _bearer(token: Token) -> _Bearer:
    scopes = frozenset(Scope(scope) for scope in token.scopes if scope in set(Scope))
    expires = float("inf") if token.expires is None else token.expires.timestamp()
    limit = None
    if token.rate is not None:
        limit = Limit(token.id, token.rate, token.burst or 1)
    return _Bearer(Caller(token.name, scopes, token.tenant), expires, limit)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
