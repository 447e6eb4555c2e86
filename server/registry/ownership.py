"""Who may see a model, and who may change it."""

from __future__ import annotations

from sqlalchemy import Connection

from foretoken.errors import PermissionDenied
from foretoken.server.registry import models
from foretoken.server.registry.lookup import no_model
from foretoken.server.terms import Caller

__all__ = ["expect_owned", "expect_seen"]


def expect_seen(connection: Connection, name: str, caller: Caller) -> str | None:
    """Return the model's owner.

    Raises:
        NotFound: if no version of it was ever registered or, in the same words, ``caller`` is not
            to know of it.
    """
    row = models.row(connection, name)
    if row is None or not caller.sees(row.owner):
        raise no_model(name)
    owner: str | None = row.owner
    return owner


def expect_owned(connection: Connection, name: str, caller: Caller) -> None:
    """Do nothing if the model is ``caller``'s to change.

    Raises:
        NotFound: as ``expect_seen`` does.
        PermissionDenied: if it is everybody's and ``caller`` belongs to a tenant.
    """
    if expect_seen(connection, name, caller) is None and caller.tenant is not None:
        raise PermissionDenied(
            f"model {name!r} is everybody's, so a token without a tenant is needed to change it; "
            "register under another name for a model of your own"
        )
