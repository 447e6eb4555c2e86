"""What the doors ask of others: who a caller is, and an ear for what has happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from foretoken.server.terms import LOCAL, Caller, Scope

__all__ = ["OPEN", "QUIET", "Gate", "RpcObserver"]


class Gate(Protocol):
    """Decides who calls; asked once for every call, before its message is read."""

    def caller(self, metadata: Mapping[str, str], peer: str, scope: Scope | None) -> Caller:
        """The caller, who holds ``scope``.

        Args:
            metadata: what came beside the message, keys in lower case.
            peer: as gRPC writes it: "ipv4:1.2.3.4:5", "ipv6:[::1]:5" or "unix:...".
            scope: that the method needs; None needs no token.

        Raises:
            Unauthenticated: without a valid token where one is needed.
            PermissionDenied: if the token does not reach that far.
            Overloaded: if the caller calls too often.
        """


class RpcObserver(Protocol):
    """Hears of every call that one of our methods took; methods must return at once."""

    def rpc(self, method: str, model: str, code: str, seconds: float, encode: float) -> None:
        """A call has ended.

        Args:
            method: "/package.Service/Method".
            model: registered name of what answered, or "".
            code: name of its gRPC status, such as "OK".
            seconds: from its first message to its end.
            encode: seconds of these spent neither in the plane nor waiting for the caller.
        """

    def stream(self, method: str, delta: int) -> None:
        """A stream was opened (1) or has ended (-1)."""

    def cancelled(self, method: str, model: str) -> None:
        """The caller went before the end; told beside ``rpc``."""

    def deadline_missed(self, method: str, model: str) -> None:
        """The deadline passed before the end; told beside ``rpc``."""


class _Open:
    def caller(self, metadata: Mapping[str, str], peer: str, scope: Scope | None) -> Caller:
        return LOCAL


class _Quiet:
    def rpc(self, method: str, model: str, code: str, seconds: float, encode: float) -> None: ...
    def stream(self, method: str, delta: int) -> None: ...
    def cancelled(self, method: str, model: str) -> None: ...
    def deadline_missed(self, method: str, model: str) -> None: ...


OPEN: Gate = _Open()  # everybody is the process's own user
QUIET: RpcObserver = _Quiet()
