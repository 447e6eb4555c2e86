"""Finding what a reference names, or saying what to do when there is no such thing."""

from __future__ import annotations

from sqlalchemy import Connection

from foretoken.errors import InvalidInput, NotFound
from foretoken.server.registry import aliases, models, versions
from foretoken.server.registry.names import Ref
from foretoken.server.registry.records import Alias, Status, Version

__all__ = [
    "PAGE",
    "alias_of",
    "any_version",
    "expect_model",
    "no_model",
    "page_of",
    "ready_version",
]

PAGE = 100
LONGEST_PAGE = 1000


def page_of(limit: int) -> int:
    """The length of a page, if one may have it.

    Raises:
        InvalidInput: if not.
    """
    if not 1 <= limit <= LONGEST_PAGE:
        raise InvalidInput(f"a page has 1 to {LONGEST_PAGE} entries, not {limit}")
    return limit


def no_model(name: str) -> NotFound:
    """What is said of a model that does not exist, or that the caller is not to know of."""
    return NotFound(f"no model {name!r}; `foretoken models list` shows those there are")


def expect_model(connection: Connection, name: str) -> None:
    """Do nothing if the model has a READY version.

    Raises:
        NotFound: if it has none.
    """
    if not models.exists(connection, name):
        raise no_model(name)


def any_version(connection: Connection, name: str, number: int) -> Version:
    """The version, whatever its status.

    Raises:
        NotFound: if there is none of that number.
    """
    version = versions.get(connection, name, number)
    if version is None:
        expect_model(connection, name)
        raise NotFound(
            f"model {name!r} has no version {number}; `foretoken models list {name}` shows them"
        )
    return version


def ready_version(connection: Connection, name: str, number: int) -> Version:
    """The version, if it is READY.

    Raises:
        NotFound: if there is none of that number, or it is not READY.
    """
    version = any_version(connection, name, number)
    if version.status is not Status.READY:
        why = f" ({version.reason})" if version.reason else ""
        raise NotFound(f"{version.ref} is {version.status}{why}; only READY versions are served")
    return version


def alias_of(connection: Connection, ref: Ref) -> Alias:
    """The alias that a reference names.

    Raises:
        NotFound: if there is none.
    """
    assert ref.alias is not None
    alias = aliases.get(connection, ref.name, ref.alias)
    if alias is None:
        expect_model(connection, ref.name)
        raise NotFound(
            f"model {ref.name!r} has no alias {ref.alias!r}; set it with "
            f"`foretoken models alias set {ref.alias}@{ref.name} VERSION`"
        )
    return alias
