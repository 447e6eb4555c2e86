"""How the protocol's name and version of a model become a reference."""

from __future__ import annotations

from foretoken.errors import InvalidInput

__all__ = ["reference"]


def reference(name: str, version: str) -> str:
    """``NAME`` without a version, ``NAME:3`` for "3", ``ALIAS@NAME`` for any other.

    Raises:
        InvalidInput: if there is no name, or both name and version say which version.
    """
    if not name:
        raise InvalidInput("the request names no model")
    if not version:
        return name
    if "@" in name or ":" in name:
        raise InvalidInput(
            f"model {name!r} says which version already; leave out the version {version!r}"
        )
    if version.isascii() and version.isdigit():
        return f"{name}:{version}"
    return f"{version}@{name}"
